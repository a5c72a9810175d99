"""Llama and SmolLM2: RMSNorm, rotary positions, shared keys and values, a gated feed-forward part, no biases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privinf.errors import ModelError
from privinf.models.families import Family
from privinf.models.families._common import blocks, decoder_keys, even_heads, generator, linear, norm
from privinf.models.source.reading import Config, activation, epsilon, size, size_or
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, ModelSpec, Rotary, Task, Tokens

SIZES = """
num_hidden_layers hidden_size num_attention_heads num_key_value_heads head_dim intermediate_size
max_position_embeddings hidden_act rms_norm_eps rope_theta rope_parameters rope_scaling
"""
FIXED = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "pretraining_tp": (1,),
    "partial_rotary_factor": (1.0, None),
    "rope_interleaved": (False,),
}
UNUSED = {"max_sequence_length"}  # of the first Llamas; nothing reads it
BEGIN, END = 1, 2  # tokens that begin and end texts where nothing is said
ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
ROPE_THETA = 10000.0


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    width, vocab = size(config, "hidden_size", path), size(config, "vocab_size", path)
    heads, kv_heads, head_width = _heads(config, width, path)
    rotary = Rotary(_rope_theta(config, path), head_width)
    block = BlockSpec(activation(config, "hidden_act", path, "silu"), gated=True, rotary=rotary)
    return ModelSpec(
        family="llama",
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn=size(config, "intermediate_size", path),
        max_tokens=size(config, "max_position_embeddings", path),
        order="pre",
        norm="rms",
        eps=epsilon(config, "rms_norm_eps", path, 1e-6),
        blocks=blocks(block, config, "num_hidden_layers", path),
        inputs=Tokens(vocab),
        head=generator(config, path, vocab, False, BEGIN, END),
    )


def _heads(config: Config, width: int, path: Path) -> tuple[int, int, int]:
    """Heads of queries, heads of keys and values, and the width of each."""
    heads = size(config, "num_attention_heads", path)
    kv_heads = size_or(config, "num_key_value_heads", heads, path)
    if heads % kv_heads:
        raise ModelError(
            f"{path}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        )
    if config.get("head_dim") is None:
        head_width = even_heads(width, heads, ("hidden_size", "num_attention_heads"), path)
    else:
        head_width = size(config, "head_dim", path)
    if head_width % 2:
        raise ModelError(f"{path}: head_dim {head_width} is odd; rotary positions turn pairs")
    return heads, kv_heads, head_width


def _rope_theta(config: Config, path: Path) -> float:
    """The base of rotary positions, where transformers 4 or 5 wrote it down; scaled ones are refused."""
    scaled = [key for key in ("rope_parameters", "rope_scaling") if config.get(key) is not None]
    for key in scaled:
        _check_rope(config[key], key, path)
    places = [config, *(config[key] for key in scaled)]
    thetas = [place["rope_theta"] for place in places if place.get("rope_theta") is not None]
    for theta in thetas:
        if isinstance(theta, bool) or not isinstance(theta, int | float) or not 1 < theta < float("inf"):
            raise ModelError(f"{path}: rope_theta must be a number above 1, not {theta!r}")
    found = {float(theta) for theta in thetas} or {ROPE_THETA}
    if len(found) > 1:
        raise ModelError(f"{path}: rope_theta and rope_parameters name different bases {sorted(found)}")
    return found.pop()


def _check_rope(given: Any, key: str, path: Path) -> None:
    plain = (
        isinstance(given, dict)
        and set(given) <= ROPE_KEYS
        and given.get("rope_type", given.get("type", "default")) == "default"
        and given.get("partial_rotary_factor") in (None, 1)
    )
    if not plain:
        raise ModelError(f"{path}: {key} {given!r} is not supported; accepted: rope_type 'default'")


def _write(spec: ModelSpec) -> dict[str, object]:
    assert spec.rotary is not None
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_width,
        "intermediate_size": spec.ffn,
        "vocab_size": spec.vocab,
        "max_position_embeddings": spec.max_tokens,
        "hidden_act": spec.blocks[0].activation,
        "rms_norm_eps": spec.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": spec.rotary.theta},
        "tie_word_embeddings": spec.generator.tied,
    }


def _tensors(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    yield "embed.token", Tensor("embed_tokens.weight", (spec.vocab, spec.width))
    for i in range(spec.layers):
        yield from _layer(f"layer{i}", f"layers.{i}", spec)
    yield from norm("head.norm", "norm", spec.width, biased=False)
    yield from linear("head", "lm_head", spec.width, spec.vocab, biased=False)


def _layer(ours: str, theirs: str, spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    width, ffn = spec.width, spec.ffn
    rows, kv_rows = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
    yield from norm(f"{ours}.attn.norm", f"{theirs}.input_layernorm", width, biased=False)
    for part, outputs in {"q": rows, "k": kv_rows, "v": kv_rows}.items():
        yield from linear(
            f"{ours}.attn.{part}", f"{theirs}.self_attn.{part}_proj", width, outputs, biased=False
        )
    yield from linear(f"{ours}.attn.out", f"{theirs}.self_attn.o_proj", rows, width, biased=False)
    yield from norm(f"{ours}.ffn.norm", f"{theirs}.post_attention_layernorm", width, biased=False)
    for part, inputs, outputs in (("gate", width, ffn), ("up", width, ffn), ("down", ffn, width)):
        yield from linear(f"{ours}.ffn.{part}", f"{theirs}.mlp.{part}_proj", inputs, outputs, biased=False)


ENTRY = Family(
    keys=decoder_keys("LlamaConfig", SIZES.split(), FIXED, UNUSED),
    classes={"LlamaForCausalLM": "generate"},
    bare="LlamaModel",
    prefix="model.",
    read=_read,
    write=_write,
    tensors=_tensors,
    # Rotary frequencies, which older versions of transformers stored and no version reads.
    ignored=re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
)
