"""Loads the weights of a decoder from model.safetensors into float32 arrays under our own names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from privinf.errors import ModelError
from privinf.models.decoder_spec import DecoderSpec, read_decoder_spec
from privinf.models.tensors import (
    WEIGHTS,
    Array,
    Tensor,
    by_plain_name,
    check_names,
    read_tensor,
    stored_tensors,
)

PREFIX = {"gpt2": "transformer.", "llama": "model."}
HEAD = "lm_head.weight"
# Causal masks and rotary frequencies, which older versions of transformers stored and no version reads.
BUFFERS = re.compile(r"(h\.\d+\.attn\.(masked_)?bias|(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq)")


def load_decoder(directory: str | os.PathLike[str]) -> tuple[DecoderSpec, dict[str, Array]]:
    """Reads specification and weights; weights of linear layers are (in, out)."""
    spec = read_decoder_spec(directory)
    path = Path(directory) / WEIGHTS
    stored = stored_tensors(path)
    names = by_plain_name(stored, lambda name: name.removeprefix(PREFIX[spec.family]), path)
    wanted = decoder_tensors(spec)
    ignored = {name for name in names if BUFFERS.fullmatch(name)} | ({HEAD} if spec.tied else set())
    model = f"{spec.layers} layers of {spec.family}"
    if not spec.tied and HEAD not in names:
        raise ModelError(
            f"{path} has no {HEAD!r}, though config.json's tie_word_embeddings is false: "
            "make it true if the head is the embedding"
        )
    check_names(names, {tensor.theirs for tensor in wanted.values()}, ignored, model, path)

    def read(tensor: Tensor) -> Array:
        name = names[tensor.theirs]
        return read_tensor(stored[name], tensor, f"{path}: {name!r}")

    weights = {ours: read(tensor) for ours, tensor in wanted.items()}
    if spec.tied:
        weights["head.weight"] = np.ascontiguousarray(weights["embed.token"].T)
        if HEAD in names and not np.array_equal(read(_head(spec)), weights["head.weight"]):
            raise ModelError(
                f"{path}: {names[HEAD]!r} differs from the embedding that config.json's tie_word_embeddings ties it to"
            )
    return spec, weights


def decoder_tensors(spec: DecoderSpec) -> dict[str, Tensor]:
    """All arrays that a decoder's file holds, by our name: without `head.weight` where it is tied."""
    arrays = dict(_gpt2(spec) if spec.family == "gpt2" else _llama(spec))
    return arrays if spec.tied else arrays | {"head.weight": _head(spec)}


def _head(spec: DecoderSpec) -> Tensor:
    return Tensor(HEAD, (spec.vocab, spec.width), transposed=True)


def _gpt2(spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    yield "embed.token", Tensor("wte.weight", (spec.vocab, spec.width))
    yield "embed.position", Tensor("wpe.weight", (spec.max_tokens, spec.width))
    for i in range(spec.layers):
        yield from _gpt2_layer(f"layer{i}", f"h.{i}", spec)
    yield from _norm("final.norm", "ln_f", spec)


def _gpt2_layer(ours: str, theirs: str, spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    width, ffn = spec.width, spec.ffn
    yield from _norm(f"{ours}.attn.norm", f"{theirs}.ln_1", spec)
    for part, name in enumerate("qkv"):
        yield from _conv(f"{ours}.attn.{name}", f"{theirs}.attn.c_attn", width, 3 * width, part, 3)
    yield from _conv(f"{ours}.attn.out", f"{theirs}.attn.c_proj", width, width)
    yield from _norm(f"{ours}.ffn.norm", f"{theirs}.ln_2", spec)
    yield from _conv(f"{ours}.ffn.up", f"{theirs}.mlp.c_fc", width, ffn)
    yield from _conv(f"{ours}.ffn.down", f"{theirs}.mlp.c_proj", ffn, width)


def _conv(
    ours: str, theirs: str, inputs: int, outputs: int, part: int = 0, parts: int = 1
) -> Iterator[tuple[str, Tensor]]:
    """GPT-2's linear layers are stored (in, out) already."""
    yield f"{ours}.weight", Tensor(f"{theirs}.weight", (inputs, outputs), part=part, parts=parts)
    yield f"{ours}.bias", Tensor(f"{theirs}.bias", (outputs,), part=part, parts=parts)


def _llama(spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    yield "embed.token", Tensor("embed_tokens.weight", (spec.vocab, spec.width))
    for i in range(spec.layers):
        yield from _llama_layer(f"layer{i}", f"layers.{i}", spec)
    yield from _norm("final.norm", "norm", spec)


def _llama_layer(ours: str, theirs: str, spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    width, ffn = spec.width, spec.ffn
    rows, kv_rows = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
    yield from _norm(f"{ours}.attn.norm", f"{theirs}.input_layernorm", spec)
    for part, outputs in {"q": rows, "k": kv_rows, "v": kv_rows}.items():
        yield _linear(f"{ours}.attn.{part}", f"{theirs}.self_attn.{part}_proj", width, outputs)
    yield _linear(f"{ours}.attn.out", f"{theirs}.self_attn.o_proj", rows, width)
    yield from _norm(f"{ours}.ffn.norm", f"{theirs}.post_attention_layernorm", spec)
    yield _linear(f"{ours}.ffn.gate", f"{theirs}.mlp.gate_proj", width, ffn)
    yield _linear(f"{ours}.ffn.up", f"{theirs}.mlp.up_proj", width, ffn)
    yield _linear(f"{ours}.ffn.down", f"{theirs}.mlp.down_proj", ffn, width)


def _linear(ours: str, theirs: str, inputs: int, outputs: int) -> tuple[str, Tensor]:
    return f"{ours}.weight", Tensor(f"{theirs}.weight", (outputs, inputs), transposed=True)


def _norm(ours: str, theirs: str, spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.gain", Tensor(f"{theirs}.weight", (spec.width,))
    if spec.biased:
        yield f"{ours}.bias", Tensor(f"{theirs}.bias", (spec.width,))
