"""Loads the weights of an encoder from model.safetensors into float32 arrays under our own names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from privinf.errors import ModelError
from privinf.models.spec import EncoderSpec, read_spec
from privinf.models.tensors import (
    WEIGHTS,
    Array,
    Stored,
    Tensor,
    by_plain_name,
    check_names,
    read_tensor,
    stored_tensors,
)

# A buffer that older versions of transformers stored: 0, 1, 2, ...
POSITIONS = "embeddings.position_ids"
POOLER = "pooler.dense"


def load_encoder(directory: str | os.PathLike[str]) -> tuple[EncoderSpec, dict[str, Array]]:
    """Reads specification and weights; weights of linear layers are (in, out)."""
    spec = read_spec(directory)
    path = Path(directory) / WEIGHTS
    stored = stored_tensors(path)
    names = by_plain_name(stored, lambda name: _plain(name, spec.family), path)
    wanted = tensors(spec, pooler=f"{POOLER}.weight" in names)
    model = f"{spec.layers} layers with head {spec.head!r}"
    check_names(names, {tensor.theirs for tensor in wanted.values()}, {POSITIONS}, model, path)
    if POSITIONS in names:
        _check_positions(stored[names[POSITIONS]], f"{path}: {names[POSITIONS]!r}", spec)
    return spec, {
        ours: read_tensor(stored.pop(names[tensor.theirs]), tensor, f"{path}: {names[tensor.theirs]!r}")
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


def _plain(name: str, family: str) -> str:
    """The name without the prefix and the spellings that differ between versions of transformers."""
    short = name.removeprefix(f"{family}.").replace("LayerNorm.gamma", "LayerNorm.weight")
    return short.replace("LayerNorm.beta", "LayerNorm.bias")


def _check_positions(stored: Stored, name: str, spec: EncoderSpec) -> None:
    rows = spec.max_tokens + spec.names.first_position
    if stored["dtype"] != "I64" or not np.array_equal(np.frombuffer(stored["data"], "<i8"), np.arange(rows)):
        raise ModelError(f"{name} is not 0, 1, 2, ...; only absolute positions in order are supported")
