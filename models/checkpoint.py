"""Loads the weights of an encoder from model.safetensors into float32 arrays under our own names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from privinf.errors import ModelError
from privinf.models.spec import EncoderSpec, read_spec

Array = npt.NDArray[np.float32]

WEIGHTS = "model.safetensors"
# A buffer that older versions of transformers stored: 0, 1, 2, ...
POSITIONS = "embeddings.position_ids"
POOLER = "pooler.dense"


@dataclass(frozen=True)
class Tensor:
    """Where one of our arrays comes from: its name in the file, its shape there, whether it is turned."""

    theirs: str
    shape: tuple[int, ...]
    transposed: bool = False


def load_encoder(directory: str | os.PathLike[str]) -> tuple[EncoderSpec, dict[str, Array]]:
    """Reads specification and weights; weights of linear layers are (in, out)."""
    spec = read_spec(directory)
    path = Path(directory) / WEIGHTS
    stored = _stored(path)
    names = _by_plain_name(stored, spec.family, path)
    wanted = tensors(spec, pooler=f"{POOLER}.weight" in names)
    _check_names(names, {tensor.theirs for tensor in wanted.values()}, spec, path)
    if POSITIONS in names:
        _check_positions(stored[names[POSITIONS]], f"{path}: {names[POSITIONS]!r}", spec)
    return spec, {
        ours: _read(stored.pop(names[tensor.theirs]), tensor, f"{path}: {names[tensor.theirs]!r}")
        for ours, tensor in wanted.items()
    }


def tensors(spec: EncoderSpec, *, pooler: bool) -> dict[str, Tensor]:
    """All arrays of an encoder, by our name; `pooler` where one without a head stores its pooler all the same."""
    return dict(_tensors(spec, pooler))


def _tensors(spec: EncoderSpec, pooler: bool) -> Iterator[tuple[str, Tensor]]:
    width, names = spec.width, spec.names
    yield "embed.token", Tensor("embeddings.word_embeddings.weight", (spec.vocab, width))
    rows = spec.max_tokens + names.first_position
    yield "embed.position", Tensor("embeddings.position_embeddings.weight", (rows, width))
    if names.typed:
        yield "embed.type", Tensor("embeddings.token_type_embeddings.weight", (spec.type_vocab, width))
    yield from _norm("embed.norm", "embeddings.LayerNorm", width)
    if names.buckets:
        yield "relative", Tensor("encoder.relative_attention_bias.weight", (names.buckets, spec.heads))
    for i in range(spec.layers):
        yield from _layer(f"layer{i}", f"encoder.layer.{i}", spec)
    if spec.head == "bert-classifier":
        dense, last = names.classifier
        yield from _linear("pooler", dense, width, width)
        yield from _linear("head", last, width, len(spec.labels))
    elif pooler:
        yield from _linear("pooler", POOLER, width, width)


def _layer(ours: str, theirs: str, spec: EncoderSpec) -> Iterator[tuple[str, Tensor]]:
    width, ffn = spec.width, spec.ffn
    for part, name in spec.names.attention.items():
        yield from _linear(f"{ours}.attn.{part}", f"{theirs}.{name}", width, width)
    yield from _norm(f"{ours}.attn.norm", f"{theirs}.{spec.names.norm}", width)
    yield from _linear(f"{ours}.ffn.up", f"{theirs}.intermediate.dense", width, ffn)
    yield from _linear(f"{ours}.ffn.down", f"{theirs}.output.dense", ffn, width)
    yield from _norm(f"{ours}.ffn.norm", f"{theirs}.output.LayerNorm", width)


def _linear(ours: str, theirs: str, inputs: int, outputs: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.weight", Tensor(f"{theirs}.weight", (outputs, inputs), transposed=True)
    yield f"{ours}.bias", Tensor(f"{theirs}.bias", (outputs,))


def _norm(ours: str, theirs: str, width: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.gain", Tensor(f"{theirs}.weight", (width,))
    yield f"{ours}.bias", Tensor(f"{theirs}.bias", (width,))


def _stored(path: Path) -> dict[str, dict[str, Any]]:
    """The file's tensors as raw bytes, since NumPy has no bfloat16; the library checks header and lengths."""
    if not path.is_file():
        others = ("model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5")
        found = "".join(f"; {name} is not read" for name in others if (path.parent / name).exists())
        raise ModelError(
            f"{path} is missing{found}: save the model as one safetensors file (save_pretrained)"
        )
    try:
        return dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ModelError(f"{path} is cut short or not safetensors ({error})") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None


def _by_plain_name(names: Iterable[str], family: str, path: Path) -> dict[str, str]:
    """Names without the prefix and the spellings that differ between versions of transformers."""
    plain: dict[str, str] = {}
    for name in names:
        short = name.removeprefix(f"{family}.").replace("LayerNorm.gamma", "LayerNorm.weight")
        short = short.replace("LayerNorm.beta", "LayerNorm.bias")
        if short in plain:
            raise ModelError(f"{path} holds both {plain[short]!r} and {name!r}")
        plain[short] = name
    return plain


def _check_names(names: Mapping[str, str], wanted: set[str], spec: EncoderSpec, path: Path) -> None:
    if missing := sorted(wanted - set(names)):
        raise ModelError(f"{path} lacks {len(missing)} tensors of config.json's model: {_some(missing)}")
    if extra := sorted(set(names) - wanted - {POSITIONS}):
        raise ModelError(
            f"{path} holds {len(extra)} tensors without use in {spec.layers} layers with head {spec.head!r}: "
            f"{_some([names[name] for name in extra])}"
        )


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")


def _check_positions(stored: Mapping[str, Any], name: str, spec: EncoderSpec) -> None:
    rows = spec.max_tokens + spec.names.first_position
    if stored["dtype"] != "I64" or not np.array_equal(np.frombuffer(stored["data"], "<i8"), np.arange(rows)):
        raise ModelError(f"{name} is not 0, 1, 2, ...; only absolute positions in order are supported")


def _read(stored: Mapping[str, Any], tensor: Tensor, name: str) -> Array:
    shape = tuple(stored["shape"])
    if shape != tensor.shape:
        raise ModelError(f"{name} has shape {shape}, where config.json calls for {tensor.shape}")
    values = _float32(stored["dtype"], stored["data"], name).reshape(shape)
    if not np.isfinite(values).all():
        raise ModelError(f"{name} holds NaN or infinite values")
    return np.ascontiguousarray(values.T if tensor.transposed else values)


def _float32(dtype: str, data: bytes, name: str) -> Array:
    if dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    raise ModelError(f"{name} is stored as {dtype}; accepted: F32, F16, BF16")
