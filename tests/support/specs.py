"""Specifications of small models, without a directory."""

from __future__ import annotations

from dataclasses import replace

from privinf.models.spec import BlockSpec, Classifier, Generator, ModelSpec, Pool, Rotary, Tokens

ENCODER = frozenset(("qkv", "out", "ffn", "norm", "head"))
DECODER = ENCODER - {"head"}


def encoder(
    layers: int,
    width: int,
    heads: int,
    ffn: int,
    vocab: int,
    max_tokens: int,
    *,
    head: Pool | Classifier | None = None,
    types: int = 2,
    activation: str = "gelu",
) -> ModelSpec:
    """As BERT's."""
    return ModelSpec(
        family="bert",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        ffn=ffn,
        max_tokens=max_tokens,
        order="post",
        norm="layer",
        eps=1e-12,
        blocks=(BlockSpec(activation),) * layers,
        inputs=Tokens(vocab, places=max_tokens, types=types),
        head=head or Pool(),
        biases=ENCODER,
        embed_norm=True,
    )


def gpt2(
    layers: int, width: int, heads: int, ffn: int, vocab: int, max_tokens: int, head: Generator
) -> ModelSpec:
    """As GPT-2's."""
    return ModelSpec(
        family="gpt2",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        ffn=ffn,
        max_tokens=max_tokens,
        order="pre",
        norm="layer",
        eps=1e-5,
        blocks=(BlockSpec("gelu_new"),) * layers,
        inputs=Tokens(vocab, places=max_tokens),
        head=head,
        biases=DECODER,
    )


def llama(
    layers: int,
    width: int,
    heads: tuple[int, int, int],
    ffn: int,
    vocab: int,
    max_tokens: int,
    head: Generator,
    theta: float = 100.0,
) -> ModelSpec:
    """As Llama's; `heads` are those of queries, those of keys, and the width of each."""
    return ModelSpec(
        family="llama",
        width=width,
        heads=heads[0],
        kv_heads=heads[1],
        head_width=heads[2],
        ffn=ffn,
        max_tokens=max_tokens,
        order="pre",
        norm="rms",
        eps=1e-5,
        blocks=(BlockSpec("silu", gated=True, rotary=Rotary(theta, heads[2])),) * layers,
        inputs=Tokens(vocab),
        head=head,
    )


def changed(
    spec: ModelSpec,
    *,
    layers: int | None = None,
    vocab: int | None = None,
    max_tokens: int | None = None,
    activation: str | None = None,
) -> ModelSpec:
    """The same with other sizes."""
    tokens = spec.tokens
    rows = spec.max_tokens if max_tokens is None else max_tokens
    inputs = replace(tokens, vocab=vocab or tokens.vocab, places=rows if tokens.places else 0)
    block = replace(spec.blocks[0], activation=activation or spec.blocks[0].activation)
    blocks = (block,) * (layers or spec.layers)
    return replace(spec, inputs=inputs, max_tokens=rows, blocks=blocks)
