"""Reads what a Hugging Face directory says about a decoder, and refuses by name what it cannot mean here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from privinf.errors import ModelError
from privinf.models.decoder_families import DECODERS, DecoderFamily, DecoderName
from privinf.models.families import FAMILIES
from privinf.models.settings import Config, activation, architecture, epsilon, flag, read_object, size

ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
ROPE_THETA = 10000.0


@dataclass(frozen=True)
class DecoderSpec:
    """Everything public about a decoder: its shapes, its activation, its positions, the tokens that end a text."""

    family: DecoderName
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    vocab: int
    max_tokens: int
    activation: str
    eps: float
    rope_theta: float  # 0 where positions have a table
    tied: bool
    bos: int | None
    eos: tuple[int, ...]

    @property
    def gated(self) -> bool:
        """Whether the feed-forward part multiplies by an activated gate."""
        return self.family == "llama"

    @property
    def biased(self) -> bool:
        """Whether linear layers and norms have biases; without one, a norm does not subtract the mean either."""
        return self.family == "gpt2"


def model_kind(directory: str | os.PathLike[str]) -> Literal["encoder", "decoder"]:
    """What config.json's model_type is."""
    path = Path(directory) / "config.json"
    given = read_object(path).get("model_type")
    kinds: dict[str, Literal["encoder", "decoder"]] = {
        **dict.fromkeys(FAMILIES, "encoder"),
        **dict.fromkeys(DECODERS, "decoder"),
    }
    if not isinstance(given, str) or given not in kinds:
        raise _unsupported(given, tuple(kinds), path)
    return kinds[given]


def read_decoder_spec(directory: str | os.PathLike[str]) -> DecoderSpec:
    """Reads config.json and, where there is one, generation_config.json; the weights need not be there."""
    folder = Path(directory)
    path = folder / "config.json"
    config = read_object(path)
    name = _family(config, path)
    family = DECODERS[name]
    family.keys.check(config, path)
    architecture(config, (family.architecture,), path)
    width = size(config, family.width, path)
    vocab = size(config, "vocab_size", path)
    heads, kv_heads, head_width = _heads(config, family, width, path)
    return DecoderSpec(
        family=name,
        layers=size(config, family.layers, path),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn=_ffn(config, family, width, path),
        vocab=vocab,
        max_tokens=size(config, family.max_tokens, path),
        activation=activation(config, family.activation, path, family.default_activation),
        eps=epsilon(config, family.eps, path, family.default_eps),
        rope_theta=_rope_theta(config, path) if name == "llama" else 0.0,
        tied=flag(config, "tie_word_embeddings", path, family.default_tied),
        bos=_bos(config, family, vocab, path),
        eos=_eos(config, family, vocab, folder),
    )


def _unsupported(given: object, accepted: tuple[str, ...], path: Path) -> ModelError:
    names = ", ".join(map(repr, accepted))
    return ModelError(f"{path}: model_type {given!r} is not supported; accepted: {names}")


def _family(config: Config, path: Path) -> DecoderName:
    given = config.get("model_type")
    for name in DECODERS:
        if given == name:
            return name
    raise _unsupported(given, tuple(DECODERS), path)


def _heads(config: Config, family: DecoderFamily, width: int, path: Path) -> tuple[int, int, int]:
    """Heads of queries, heads of keys and values, and the width of each."""
    heads = size(config, family.heads, path)
    kv_heads = _or(config, family.kv_heads, heads, path)
    if heads % kv_heads:
        raise ModelError(f"{path}: {family.heads} {heads} is not a multiple of {family.kv_heads} {kv_heads}")
    if config.get(family.head_width) is None and width % heads:
        raise ModelError(f"{path}: {family.width} {width} is not a multiple of {family.heads} {heads}")
    head_width = _or(config, family.head_width, width // heads, path)
    if family.rotary and head_width % 2:
        raise ModelError(f"{path}: {family.head_width} {head_width} is odd; rotary positions turn pairs")
    return heads, kv_heads, head_width


def _or(config: Config, key: str, default: int, path: Path) -> int:
    """A size that may be null or absent."""
    return default if config.get(key) is None else size(config, key, path)


def _ffn(config: Config, family: DecoderFamily, width: int, path: Path) -> int:
    if family.default_ffn is None:
        return size(config, family.ffn, path)
    return _or(config, family.ffn, family.default_ffn * width, path)


def _rope_theta(config: Config, path: Path) -> float:
    """The base of rotary positions, where transformers 4 or 5 wrote it down; scaled ones are refused."""
    found = {float(theta) for theta in _thetas(config, path)} or {ROPE_THETA}
    if len(found) > 1:
        raise ModelError(f"{path}: rope_theta and rope_parameters name different bases {sorted(found)}")
    return found.pop()


def _thetas(config: Config, path: Path) -> Iterator[float]:
    places: list[Mapping[str, Any]] = [config]
    for key in ("rope_parameters", "rope_scaling"):
        given = config.get(key)
        if given is not None:
            _check_rope(given, key, path)
            places.append(given)
    for place in places:
        theta = place.get("rope_theta")
        if theta is None:
            continue
        if isinstance(theta, bool) or not isinstance(theta, int | float) or not 1 < theta < float("inf"):
            raise ModelError(f"{path}: rope_theta must be a number above 1, not {theta!r}")
        yield theta


def _check_rope(given: Any, key: str, path: Path) -> None:
    plain = (
        isinstance(given, dict)
        and set(given) <= ROPE_KEYS
        and given.get("rope_type", given.get("type", "default")) == "default"
        and given.get("partial_rotary_factor") in (None, 1)
    )
    if not plain:
        raise ModelError(f"{path}: {key} {given!r} is not supported; accepted: rope_type 'default'")


def _bos(config: Config, family: DecoderFamily, vocab: int, path: Path) -> int | None:
    ids = _ids(config.get("bos_token_id", family.default_bos), "bos_token_id", vocab, path)
    return ids[0] if ids else None


def _eos(config: Config, family: DecoderFamily, vocab: int, folder: Path) -> tuple[int, ...]:
    """generation_config.json goes before config.json, as in transformers."""
    path = folder / "generation_config.json"
    if path.exists():
        given = read_object(path).get("eos_token_id")
        if given is not None:
            return _ids(given, "eos_token_id", vocab, path)
    path = folder / "config.json"
    return _ids(config.get("eos_token_id", family.default_eos), "eos_token_id", vocab, path)


def _ids(given: Any, key: str, vocab: int, path: Path) -> tuple[int, ...]:
    """Token ids; those outside the vocabulary, which small models inherit as defaults, never occur."""
    ids = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise ModelError(f"{path}: {key} must be a token id or a list of them, not {given!r}")
    return tuple(i for i in ids if 0 <= i < vocab)
