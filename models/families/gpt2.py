"""GPT-2: learned positions, one matrix for queries, keys and values, linear layers stored (in, out)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from privinf.models.families import Family
from privinf.models.families._common import blocks, decoder_keys, even_heads, generator, norm
from privinf.models.source.reading import Config, activation, epsilon, size, size_or
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, ModelSpec, Task, Tokens

SIZES = ("n_layer", "n_embd", "n_head", "n_inner", "n_positions", "activation_function", "layer_norm_epsilon")
FIXED = {
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
}
UNUSED = {"n_ctx"}  # the size of a mask that older versions stored
BIASES = frozenset(("qkv", "out", "ffn", "norm"))
END = 50256  # the token that begins and ends texts where nothing is said


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    width, heads = size(config, "n_embd", path), size(config, "n_head", path)
    vocab, rows = size(config, "vocab_size", path), size(config, "n_positions", path)
    block = BlockSpec(activation(config, "activation_function", path, "gelu_new"))
    return ModelSpec(
        family="gpt2",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=even_heads(width, heads, ("n_embd", "n_head"), path),
        ffn=size_or(config, "n_inner", 4 * width, path),
        max_tokens=rows,
        order="pre",
        norm="layer",
        eps=epsilon(config, "layer_norm_epsilon", path, 1e-5),
        blocks=blocks(block, config, "n_layer", path),
        inputs=Tokens(vocab, places=rows),
        head=generator(config, path, vocab, True, END, END),
        biases=BIASES,
    )


def _write(spec: ModelSpec) -> dict[str, object]:
    return {
        "n_embd": spec.width,
        "n_layer": spec.layers,
        "n_head": spec.heads,
        "n_inner": spec.ffn,
        "n_positions": spec.max_tokens,
        "vocab_size": spec.vocab,
        "activation_function": spec.blocks[0].activation,
        "layer_norm_epsilon": spec.eps,
        "tie_word_embeddings": spec.generator.tied,
    }


def _tensors(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    yield "embed.token", Tensor("wte.weight", (spec.vocab, spec.width))
    yield "embed.position", Tensor("wpe.weight", (spec.max_tokens, spec.width))
    for i in range(spec.layers):
        yield from _layer(f"layer{i}", f"h.{i}", spec.width, spec.ffn)
    yield from norm("head.norm", "ln_f", spec.width)
    yield "head.weight", Tensor("lm_head.weight", (spec.vocab, spec.width), transposed=True)


def _layer(ours: str, theirs: str, width: int, ffn: int) -> Iterator[tuple[str, Tensor]]:
    yield from norm(f"{ours}.attn.norm", f"{theirs}.ln_1", width)
    for part, name in enumerate("qkv"):
        yield from _conv(f"{ours}.attn.{name}", f"{theirs}.attn.c_attn", width, 3 * width, part, 3)
    yield from _conv(f"{ours}.attn.out", f"{theirs}.attn.c_proj", width, width)
    yield from norm(f"{ours}.ffn.norm", f"{theirs}.ln_2", width)
    yield from _conv(f"{ours}.ffn.up", f"{theirs}.mlp.c_fc", width, ffn)
    yield from _conv(f"{ours}.ffn.down", f"{theirs}.mlp.c_proj", ffn, width)


def _conv(
    ours: str, theirs: str, inputs: int, outputs: int, part: int = 0, parts: int = 1
) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.weight", Tensor(f"{theirs}.weight", (inputs, outputs), part=part, parts=parts)
    yield f"{ours}.bias", Tensor(f"{theirs}.bias", (outputs,), part=part, parts=parts)


ENTRY = Family(
    keys=decoder_keys("GPT2Config", SIZES, FIXED, UNUSED),
    classes={"GPT2LMHeadModel": "generate"},
    bare="GPT2Model",
    prefix="transformer.",
    read=_read,
    write=_write,
    tensors=_tensors,
    # Causal masks, which older versions of transformers stored and no version reads.
    ignored=re.compile(r"h\.\d+\.attn\.(masked_)?bias"),
)
