"""What a model owner does, from a checkpoint to one directory for each role."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from privinf.errors import ConfigError, ModelError
from privinf.models.cache import POLICIES
from privinf.models.fold import fold
from privinf.models.programs.images import F32
from privinf.models.programs.layout import MAX_ROWS, QueryLayout, SessionLayout
from privinf.models.programs.texts import Ids
from privinf.models.sharing import bundle, calibrate, pictures
from privinf.models.sharing.bundle import Bundle
from privinf.models.sharing.calibrate import Stage, Tick, default_text
from privinf.models.sharing.folder import Mode
from privinf.models.sharing.schemes import SCHEMES
from privinf.models.source.checkpoint import load
from privinf.models.source.processor import read_rules
from privinf.models.spec import ModelSpec, Patches
from privinf.models.text.control import Script
from privinf.models.text.prompts import SYSTEM, DecoderTokenizer
from privinf.models.text.tokenizer import Tokenizer
from privinf.protocols.masked import NAME

MAX_TOKENS = 1024


def share(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    weights: Mode = "private",
    calibration: Sequence[str] | None = None,
    images: F32 | None = None,
    protocol: str = NAME,
    tick: Tick = lambda done: None,
    stage: Stage = lambda name, total: None,
) -> Bundle[QueryLayout]:
    """Read, fold, calibrate and split a Hugging Face directory; return the client's part.

    `calibration` is text like that of the queries, one passage an item; by default what ships with privinf. `images`
    are the same of a model of images, as its processor gives them; by default those of models/sharing/pictures.py.
    `protocol` is a name in models/sharing/schemes. `tick` counts passages done,
    and `stage` is told what begins.
    Raises ModelError for what cannot be computed faithfully.
    """
    SCHEMES[protocol]  # refused by name before minutes of calibration
    stage("reading the model", 0)
    spec, tensors = load(source)
    _require_kind(spec, calibration, images)
    folded = fold(spec, tensors)
    if isinstance(spec.inputs, Patches):
        rules = read_rules(source, spec)
        pixels, most = pictures.beside(rules, spec.inputs, images), rules.most
        plan = calibrate.calibrate_images(spec, folded, pixels, most, tick, stage)
    else:
        lines = default_text() if calibration is None else calibration
        plan = calibrate.calibrate(spec, folded, Tokenizer(source).encode(lines, truncate=True), tick, stage)
    stage("writing", 0)
    bundle.write(source, out, folded, plan, weights, protocol=protocol)
    return bundle.read_queries(os.path.join(out, "client"))


def _require_kind(spec: ModelSpec, texts: Sequence[str] | None, images: F32 | None) -> None:
    """Refuse what this model is not calibrated on, and images of too many rows."""
    takes_images = isinstance(spec.inputs, Patches)
    if takes_images and texts is not None:
        raise ConfigError("this model takes images, not texts: give images (--images), or none")
    if not takes_images and images is not None:
        raise ConfigError("this model takes texts, not images: give texts (--calibration), or none")
    if takes_images and spec.max_tokens > MAX_ROWS:
        raise ModelError(
            f"images of {spec.max_tokens} rows: a query holds {MAX_ROWS}, so choose a model of larger patches"
        )


def share_decoder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    weights: Mode = "private",
    embeddings: Mode | None = None,
    prefix: str | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    calibration: Sequence[str] | None = None,
    special_tokens: bool = False,
    cache: str = "full",
    protocol: str = NAME,
    tick: Tick = lambda done: None,
    stage: Stage = lambda name, total: None,
) -> Bundle[SessionLayout]:
    """Read, fold, calibrate and split a decoder; return the client's part.

    prefix: the public beginning of every session; without one it is the header of the model's chat template with this
    `system` message, or the token that begins a text. embeddings: whether everybody may know the
    embedding tables, which both parties then hold. max_tokens: of a session, prefix included; by default 1024, or
    as many as the model takes.
    calibration: text like that of the prompts and of what follows.
    special_tokens: whether the prefix means the control tokens that it spells. cache: which slots attention reads, a
    name in models/cache. protocol: one in models/sharing/schemes.
    `tick` counts passages done, and `stage` is told what begins.
    Raises ModelError for what cannot be computed faithfully.
    """
    embeddings = weights if embeddings is None else embeddings
    POLICIES[cache], SCHEMES[protocol]  # refused by name before minutes of calibration
    if (weights, embeddings) == ("public", "private"):
        raise ConfigError("embeddings are weights: where those are public, these are")
    if system is not None and prefix is not None:
        raise ConfigError("a prefix and a system message exclude each other: that is in the prefix already")
    if system is not None and not _has_template(source):
        raise ConfigError(f"{source} has no chat template, so there is no system message: give a prefix")
    stage("reading the model", 0)
    spec, tensors = load(source)
    if max_tokens is not None and not 1 <= max_tokens <= spec.max_tokens:
        raise ConfigError(f"sessions of {max_tokens} tokens: this model takes 1 to {spec.max_tokens}")
    folded = fold(spec, tensors)
    del tensors
    tokenizer = DecoderTokenizer(source, spec.vocab)
    chat = prefix is None and _has_template(source)
    head = _header(source, tokenizer, system) if chat else tokenizer.script(prefix or "", special_tokens)
    first = [begin] if (begin := spec.generator.bos) is not None and not chat else []
    ids = (*first, *tokenizer.encode(head))
    lines = default_text() if calibration is None else list(calibration)
    texts = (
        _conversations(source, tokenizer, system, lines) if chat else [head + Script(line) for line in lines]
    )
    encoded: list[Ids] = [np.array(tokenizer.after(text, ids, len(first)), np.int32) for text in texts]
    most = min(MAX_TOKENS, spec.max_tokens) if max_tokens is None else max_tokens
    plan, prefixed = calibrate.calibrate_decoder(spec, folded, encoded, ids, most, tick, cache, stage)
    folded |= prefixed
    stage("writing", 0)
    bundle.write(source, out, folded, plan, weights, embeddings, head, chat, protocol)
    if chat and system is not None:
        (Path(out) / "client" / SYSTEM).write_text(system, encoding="utf-8", newline="")
    return bundle.read_sessions(os.path.join(out, "client"))


def _has_template(source: str | os.PathLike[str]) -> bool:
    """Whether the directory names a chat template, in either place."""
    folder = Path(source)
    config = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        config.is_file() and '"chat_template"' in config.read_text("utf-8")
    )


def _header(source: str | os.PathLike[str], tokenizer: DecoderTokenizer, system: str | None) -> Script:
    from privinf.models.text.chat import ChatTemplate

    return ChatTemplate(source, rules=tokenizer.rules).header(system)


def _conversations(
    source: str | os.PathLike[str], tokenizer: DecoderTokenizer, system: str | None, lines: Sequence[str]
) -> list[Script]:
    """Each line as a user's, the next as the answer: what special tokens do to ranges is measured too."""
    from privinf.models.text.chat import ChatTemplate

    template = ChatTemplate(source, rules=tokenizer.rules)
    begin = [] if system is None else [{"role": "system", "content": system}]
    pairs = zip(lines, [*lines[1:], lines[0]], strict=True)
    return [
        template.script(
            [*begin, {"role": "user", "content": asked}, {"role": "assistant", "content": said}], False
        )
        for asked, said in pairs
    ]
