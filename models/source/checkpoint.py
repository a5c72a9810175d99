"""Reads a Hugging Face directory: what a model is, and its weights in float32 under our own names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from privinf.errors import ModelError
from privinf.models.families import FAMILIES, Family
from privinf.models.source.reading import architecture, read_object
from privinf.models.source.tensors import WEIGHTS, Array, Stored, Tensor, read_tensor, stored_tensors
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
    names = _by_plain_name(stored, family, path)
    described = tensors(spec)
    # Optional tensors are all there, or none.
    optional = any(tensor.optional and tensor.theirs in names for tensor in described.values())
    wanted = {ours: tensor for ours, tensor in described.items() if optional or not tensor.optional}
    _check(spec, wanted, names, path)
    if family.counted in names:
        _check_counted(stored[names[family.counted]], f"{path}: {names[family.counted]!r}", spec)
    head = wanted.pop(HEAD) if isinstance(spec.head, Generator) and spec.head.tied else None
    weights = {ours: _read(tensor, names, stored, path) for ours, tensor in wanted.items()}
    if head is not None:
        weights[HEAD] = np.ascontiguousarray(weights["embed.token"].T)
        if head.theirs in names and not np.array_equal(_read(head, names, stored, path), weights[HEAD]):
            raise ModelError(
                f"{path}: {names[head.theirs]!r} differs from the embedding that config.json's "
                "tie_word_embeddings ties it to"
            )
    return spec, weights


def _by_plain_name(stored: Iterable[str], family: Family, path: Path) -> dict[str, str]:
    """The file's names by their one spelling."""
    found: dict[str, str] = {}
    for name in stored:
        short = plain_name(name, family)
        if short in found:
            raise ModelError(f"{path} holds both {found[short]!r} and {name!r}")
        found[short] = name
    return found


def plain_name(name: str, family: Family) -> str:
    """The name without the prefix and the spellings that differ between versions of transformers."""
    short = name.removeprefix(family.prefix).replace("LayerNorm.gamma", "LayerNorm.weight")
    return short.replace("LayerNorm.beta", "LayerNorm.bias")


def _check(spec: ModelSpec, wanted: dict[str, Tensor], names: dict[str, str], path: Path) -> None:
    """Refuses a file that lacks tensors of the model, or holds others."""
    family = FAMILIES[spec.family]
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
    _check_names(names, needed, ignored, f"{spec.layers} layers of {spec.family} to {spec.task}", path)


def _check_names(
    names: Mapping[str, str], wanted: set[str], ignored: set[str], model: str, path: Path
) -> None:
    """The same by the names that are needed, and those that mean nothing."""
    if missing := sorted(wanted - set(names)):
        raise ModelError(f"{path} lacks {len(missing)} tensors of config.json's model: {_some(missing)}")
    if extra := sorted(set(names) - wanted - ignored):
        raise ModelError(
            f"{path} holds {len(extra)} tensors without use in {model}: "
            f"{_some([names[name] for name in extra])}"
        )


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")


def _read(tensor: Tensor, names: dict[str, str], stored: dict[str, Stored], path: Path) -> Array:
    name = names[tensor.theirs]
    return read_tensor(stored[name], tensor, f"{path}: {name!r}")


def _check_counted(stored: Stored, name: str, spec: ModelSpec) -> None:
    counted = np.arange(spec.tokens.places)
    if stored["dtype"] != "I64" or not np.array_equal(np.frombuffer(stored["data"], "<i8"), counted):
        raise ModelError(f"{name} is not 0, 1, 2, ...; only absolute positions in order are supported")
