"""Reads a Hugging Face directory: what a model is, and its weights in float32 under our own names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from privinf.errors import ModelError
from privinf.models.families import FAMILIES, Family
from privinf.models.source.reading import architecture, read_object
from privinf.models.source.tensors import (
    WEIGHTS,
    Array,
    Stored,
    Tensor,
    by_plain_name,
    check_names,
    read_tensor,
    stored_tensors,
)
from privinf.models.spec import Generator, ModelSpec

HEAD = "head.weight"


def read_spec(directory: str | os.PathLike[str]) -> ModelSpec:
    """Reads config.json and the files beside it that say more; the weights need not be there."""
    path = Path(directory) / "config.json"
    config = read_object(path)
    given = config.get("model_type")
    if not isinstance(given, str) or given not in FAMILIES:
        accepted = ", ".join(map(repr, FAMILIES.names()))
        raise ModelError(f"{path}: model_type {given!r} is not supported; accepted: {accepted}")
    family = FAMILIES[given]
    family.keys.check(config, path)
    return family.read(config, path, family.classes[architecture(config, tuple(family.classes), path)])


def tensors(spec: ModelSpec) -> dict[str, Tensor]:
    """All arrays of a model by our name; a tied head is among them, and optional ones are."""
    return dict(FAMILIES[spec.family].tensors(spec))


def load(directory: str | os.PathLike[str]) -> tuple[ModelSpec, dict[str, Array]]:
    """Reads specification and weights; weights of linear layers are (in, out)."""
    spec = read_spec(directory)
    path, family = Path(directory) / WEIGHTS, FAMILIES[spec.family]
    stored = stored_tensors(path)
    names = by_plain_name(stored, lambda name: plain_name(name, family), path)
    wanted = {ours: tensor for ours, tensor in tensors(spec).items() if _wanted(tensor, spec, names)}
    _check(spec, family, wanted, names, path)
    if family.counted in names:
        _check_counted(stored[names[family.counted]], f"{path}: {names[family.counted]!r}", spec)
    head = wanted.pop(HEAD) if _tied(spec) else None
    weights = {ours: _read(tensor, names, stored, path) for ours, tensor in wanted.items()}
    if head is not None:
        weights[HEAD] = np.ascontiguousarray(weights["embed.token"].T)
        if head.theirs in names and not np.array_equal(_read(head, names, stored, path), weights[HEAD]):
            raise ModelError(
                f"{path}: {names[head.theirs]!r} differs from the embedding that config.json's "
                "tie_word_embeddings ties it to"
            )
    return spec, weights


def plain_name(name: str, family: Family) -> str:
    """The name without the prefix and the spellings that differ between versions of transformers."""
    short = name.removeprefix(family.prefix).replace("LayerNorm.gamma", "LayerNorm.weight")
    return short.replace("LayerNorm.beta", "LayerNorm.bias")


def _tied(spec: ModelSpec) -> bool:
    return isinstance(spec.head, Generator) and spec.head.tied


def _wanted(tensor: Tensor, spec: ModelSpec, names: dict[str, str]) -> bool:
    """Optional tensors are all there, or none."""
    if not tensor.optional:
        return True
    return any(other.optional and other.theirs in names for other in tensors(spec).values())


def _check(
    spec: ModelSpec, family: Family, wanted: dict[str, Tensor], names: dict[str, str], path: Path
) -> None:
    """Refuses a file that lacks tensors of the model, or holds others."""
    ignored = {name for name in names if name == family.counted or family.ignored.fullmatch(name)}
    needed = {tensor.theirs for tensor in wanted.values()}
    if isinstance(spec.head, Generator):
        head = wanted[HEAD].theirs
        if spec.head.tied:
            needed, ignored = needed - {head}, ignored | {head}
        elif head not in names:
            raise ModelError(
                f"{path} has no {head!r}, though config.json's tie_word_embeddings is false: "
                "make it true if the head is the embedding"
            )
    check_names(names, needed, ignored, f"{spec.layers} layers of {spec.family} to {spec.task}", path)


def _read(tensor: Tensor, names: dict[str, str], stored: dict[str, Stored], path: Path) -> Array:
    name = names[tensor.theirs]
    return read_tensor(stored[name], tensor, f"{path}: {name!r}")


def _check_counted(stored: Stored, name: str, spec: ModelSpec) -> None:
    counted = np.arange(spec.tokens.places)
    if stored["dtype"] != "I64" or not np.array_equal(np.frombuffer(stored["data"], "<i8"), counted):
        raise ModelError(f"{name} is not 0, 1, 2, ...; only absolute positions in order are supported")
