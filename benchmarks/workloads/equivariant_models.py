"""Plain and covered models as the equivariant benchmarks run them: one face, answers in the plain order."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import torch
import transformers

from privinf.equivariant.asking.own_part import OwnPart
from privinf.equivariant.key import Key
from privinf.formats.fetch import fetch

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
DECODERS = ("tinystories", "smollm2", "mgm")
ENCODERS = ("minilm",)
FIRST_WORDS = {"tinystories": "Once", "mgm": "g__Bacteroides"}  # of texts that a model writes itself
SKIPPED = 50_000  # characters at the beginning of the book
VARIANT = "variants/0000"


class Decoder:
    """A decoder with a cache; `key` undoes the covers of one on the server's side."""

    def __init__(self, folder: Path, key: Key | None = None) -> None:
        self.model = load(folder, "AutoModelForCausalLM")
        self._tokens = None if key is None or key.tokens is None else torch.from_numpy(key.tokens)
        self._name = _cache_name(self.model)
        self.begin()

    def begin(self) -> None:
        """Forget what was read."""
        self._cache = transformers.DynamicCache(config=self.model.config)

    @torch.inference_mode()
    def read(self, ids: Ids, every: bool = False) -> F32:
        """Logits after the last token of each row, (rows, vocab), or after `every` one, (rows, tokens, vocab)."""
        given = torch.from_numpy(ids)
        if self._tokens is not None:
            given = self._tokens[given]
        options = {self._name: self._cache, "use_cache": True, "logits_to_keep": 0 if every else 1}
        logits = self.model(input_ids=given, **options).logits
        if self._tokens is not None:
            logits = logits[:, :, self._tokens]
        out: F32 = (logits if every else logits[:, -1]).numpy()
        return out


class SessionDecoder:
    """A decoder at the level `session`: what the client computes is done as the client does it."""

    def __init__(self, client: Path, server: Path) -> None:
        self._key = Key.load(client / VARIANT)
        self._own = OwnPart(client, Key.load(client).about)
        self.model = load(server / VARIANT, "AutoModel")
        self._name = _cache_name(self.model)
        self.begin()

    def begin(self) -> None:
        """Forget what was read."""
        self._cache, self._place = transformers.DynamicCache(config=self.model.config), 0

    @torch.inference_mode()
    def read(self, ids: Ids, every: bool = False) -> F32:
        """As Decoder's."""
        key = self._key
        assert key.hidden is not None
        assert key.answer is not None
        rows = np.stack([self._own.token_rows(row, self._place) for row in ids.tolist()]) @ key.hidden
        self._place += ids.shape[1]
        options = {self._name: self._cache, "use_cache": True}
        answer = self.model(inputs_embeds=torch.from_numpy(rows).float(), **options).last_hidden_state
        kept = (answer if every else answer[:, -1]).numpy()
        logits: F32 = self._own.logits((kept.astype(np.float64) @ key.answer).reshape(-1, key.about.width))
        return logits.reshape(*kept.shape[:-1], -1)


class Encoder:
    """An encoder that answers with the mean of its last hidden rows, of length one."""

    def __init__(self, folder: Path, key: Key | None = None, own: OwnPart | None = None) -> None:
        self.model = load(folder, "AutoModel", add_pooling_layer=False)
        self._key, self._own = key, own

    @torch.inference_mode()
    def embed(self, ids: Ids) -> F64:
        """Of one text."""
        rows = self.rows(ids)[0].double().numpy()
        if self._key is not None and self._key.answer is not None:
            rows = rows @ self._key.answer
        mean: F64 = rows.mean(0)
        return mean / np.linalg.norm(mean)

    @torch.inference_mode()
    def rows(self, ids: Ids) -> torch.Tensor:
        """What the server computes."""
        if self._own is not None:
            assert self._key is not None
            assert self._key.hidden is not None
            sent = torch.from_numpy(self._own.token_rows(ids.tolist()) @ self._key.hidden).float()
            return self.model.encoder(sent[None]).last_hidden_state
        given = ids if self._key is None or self._key.tokens is None else self._key.tokens[ids]
        return self.model(torch.from_numpy(given)[None]).last_hidden_state


def load(folder: Path, kind: str, **options: Any) -> Any:
    """A directory's model in float32, with no code but that of transformers."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32, **options)
    return model.eval().requires_grad_(False)


def converted_decoder(out: Path, level: str) -> Decoder | SessionDecoder:
    """What `privinf cover` wrote."""
    if level == "session":
        return SessionDecoder(out / "client", out / "server")
    return Decoder(out / "server", Key.load(out / "client"))


def converted_encoder(out: Path, level: str) -> Encoder:
    """What `privinf cover` wrote."""
    if level != "session":
        return Encoder(out / "server", Key.load(out / "client"))
    eps = float(transformers.AutoConfig.from_pretrained(out / "client").layer_norm_eps)
    own = OwnPart(out / "client", Key.load(out / "client").about, eps)
    return Encoder(out / "server" / VARIANT, Key.load(out / "client" / VARIANT), own)


def decoder_texts(name: str, source: Path, plain: Decoder, count: int, tokens: int) -> Ids:
    """Token ids (count, tokens) in the model's domain: a book, or what the model writes itself at temperature one."""
    rules = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    settings = plain.model.config
    bos = settings.bos_token_id
    if name in FIRST_WORDS:
        first = rules.encode(FIRST_WORDS[name], add_special_tokens=False).ids[0]
        special = {bos, settings.eos_token_id, settings.pad_token_id} - {None}
        return _sampled(plain, [bos, first], sorted(special), count, tokens)
    path = next(p for p in sorted(fetch("moby-dick").iterdir()) if p.suffix == ".txt")
    text = path.read_text("utf-8")[SKIPPED : SKIPPED + 8 * count * tokens]
    body = np.array(rules.encode(text, add_special_tokens=False).ids[: count * (tokens - 1)])
    return np.hstack((np.full((count, 1), bos), body.reshape(count, tokens - 1)))


def _sampled(plain: Decoder, first: Sequence[int], never: Sequence[int], count: int, tokens: int) -> Ids:
    draw = torch.Generator().manual_seed(1)
    rows = np.tile(np.array(first, dtype=np.int64), (count, 1))
    plain.begin()
    read = rows
    while rows.shape[1] < tokens:
        logits = torch.from_numpy(plain.read(read)).clone()
        logits[:, list(never)] = -torch.inf
        read = torch.multinomial(torch.softmax(logits, -1), 1, generator=draw).numpy()
        rows = np.hstack((rows, read))
    return rows


def _cache_name(model: Any) -> str:
    """What this release of transformers calls the argument."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
