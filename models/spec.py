"""Reads what a Hugging Face directory says about an encoder, and refuses by name what it cannot mean here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from privinf.errors import ModelError
from privinf.models.families import FAMILIES, HARMLESS_KEYS, Family, Head, Name
from privinf.models.settings import Keys, activation, architecture, epsilon, read_json, read_object, size

POOLINGS: Mapping[str, Literal["mean", "cls"]] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}
POOLING = "1_Pooling/config.json"  # where it is without modules.json


@dataclass(frozen=True)
class EncoderSpec:
    """Everything public about an encoder: its shapes, its activation, what follows its last layer."""

    layers: int
    width: int
    heads: int
    ffn: int
    vocab: int
    max_tokens: int
    type_vocab: int
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    pooling: Literal["mean", "cls"] | None = None
    normalize: bool = False
    labels: tuple[str, ...] = ()
    head: Head = "none"
    family: Name = "bert"

    @property
    def names(self) -> Family:
        """What the family calls its parts, and how it counts positions."""
        return FAMILIES[self.family]


Spec = EncoderSpec


def read_spec(directory: str | os.PathLike[str]) -> EncoderSpec:
    """Reads config.json, modules.json and the pooling's config.json; the weights need not be there."""
    folder = Path(directory)
    path = folder / "config.json"
    config = read_object(path)
    name = _family(config, path)
    family = FAMILIES[name]
    Keys(family.config, family.read_keys, family.fixed_keys, HARMLESS_KEYS).check(config, path)
    width = size(config, "hidden_size", path)
    heads = size(config, "num_attention_heads", path)
    if width % heads:
        raise ModelError(f"{path}: hidden_size {width} is not a multiple of num_attention_heads {heads}")
    head = family.classes[architecture(config, tuple(family.classes), path)]
    pooling, normalize = (None, False) if head != "none" else _sentence_modules(folder, width)
    return EncoderSpec(
        layers=size(config, "num_hidden_layers", path),
        width=width,
        heads=heads,
        ffn=size(config, "intermediate_size", path),
        vocab=size(config, "vocab_size", path),
        max_tokens=_positions(config, family, path),
        type_vocab=size(config, "type_vocab_size", path, default=2) if family.typed else 0,
        activation=activation(config, "hidden_act", path, "gelu"),
        layer_norm_eps=epsilon(config, "layer_norm_eps", path, 1e-12),
        pooling=pooling,
        normalize=normalize,
        labels=read_labels(config, path) if head == "bert-classifier" else (),
        head=head,
        family=name,
    )


def _family(config: dict[str, Any], path: Path) -> Name:
    given = config.get("model_type")
    for name in FAMILIES:
        if given == name:
            return name
    accepted = ", ".join(map(repr, FAMILIES))
    raise ModelError(f"{path}: model_type {given!r} is not supported; accepted: {accepted}")


def _positions(config: dict[str, Any], family: Family, path: Path) -> int:
    """How many tokens a text may have."""
    rows = size(config, "max_position_embeddings", path)
    if rows <= family.first_position:
        raise ModelError(f"{path}: max_position_embeddings must be above {family.first_position}, not {rows}")
    return rows - family.first_position


def read_labels(config: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Names of classes, in their order; transformers leaves id2label out where it is its default of two labels."""
    given = config.get("id2label")
    if given is None:
        return tuple(f"LABEL_{i}" for i in range(size(config, "num_labels", path, default=2)))
    names = [given.get(str(i)) for i in range(len(given))] if isinstance(given, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: id2label must map '0', '1', ... to names")
    return tuple(str(name) for name in names)


def _sentence_modules(folder: Path, width: int) -> tuple[Literal["mean", "cls"] | None, bool]:
    """Pooling and normalisation as sentence-transformers wrote them down, if it did."""
    path = folder / "modules.json"
    if not path.exists():
        pooling = folder / POOLING
        return (_pooling(pooling, width) if pooling.exists() else None), False
    steps = _modules(path)
    kinds = tuple(kind for kind, _ in steps)
    if kinds not in {("Transformer",), ("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")}:
        raise ModelError(
            f"{path}: modules {', '.join(kinds) or 'none'} are not supported; "
            "accepted: Transformer, then Pooling, then Normalize"
        )
    pooling_of = _pooling(folder / steps[1][1] / "config.json", width) if len(steps) > 1 else None
    return pooling_of, len(steps) > 2


def pooling_files(folder: Path) -> list[str]:
    """Where the pooling is configured, seen from the model's directory."""
    path = folder / "modules.json"
    if not path.exists():
        return [POOLING]
    return [str(PurePosixPath(place) / "config.json") for kind, place in _modules(path) if kind == "Pooling"]


def _modules(path: Path) -> list[tuple[str, str]]:
    return [_module(step, path) for step in _read_list(path)]


def _read_list(path: Path) -> list[Any]:
    value = read_json(path)
    if not isinstance(value, list):
        raise ModelError(f"{path} holds a JSON {type(value).__name__}, not a list")
    return value


def _module(step: Any, path: Path) -> tuple[str, str]:
    """Kind and folder; the folder stays under the model's."""
    kind, place = (step.get("type"), step.get("path", "")) if isinstance(step, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(place, str):
        raise ModelError(f"{path}: each module needs a type and a path")
    if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise ModelError(f"{path}: module path {place!r} leaves the directory")
    return kind.rsplit(".", 1)[-1], place


def _pooling(path: Path, width: int) -> Literal["mean", "cls"]:
    config = read_object(path)
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        found = ", ".join(chosen) or "none"
        raise ModelError(f"{path}: pooling {found} is not supported; accepted: {', '.join(POOLINGS)}")
    if config.get("word_embedding_dimension", width) != width:
        raise ModelError(f"{path}: word_embedding_dimension differs from hidden_size {width}")
    return POOLINGS[chosen[0]]
