"""Covers one transformer layer: norms folded into what follows them, heads, feed-forward part, residual stream."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.covering.covers import SPREAD
from privinf.equivariant.covering.draw import F64, Draw
from privinf.equivariant.covering.heads import draw_heads
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.covering.stream import Stream
from privinf.models.source.tensors import Array

Weights = dict[str, Array]


def cover_layers(plain: Plain, draw: Draw, stream: Stream) -> Weights:
    """All layers, in float32 as they are stored."""
    out: Weights = {}
    for i in range(plain.spec.layers):
        _attention(out, plain, f"layer{i}.attn", draw, stream)
        _feed_forward(out, plain, f"layer{i}.ffn", draw, stream)
    return out


def put(out: Weights, name: str, value: F64) -> None:
    """Keep an array as it is stored; all was computed in float64."""
    out[name] = np.ascontiguousarray(value, dtype=np.float32)


def folded(plain: Plain, name: str, norm: str) -> tuple[F64, F64 | None]:
    """Weight and bias of a linear layer with gain and bias of the norm before it: (n g + b) W + c."""
    weight, bias = plain.exact(f"{name}.weight"), plain.optional(f"{name}.bias")
    if plain.post_norm:
        return weight, bias
    before = plain.optional(f"{norm}.bias")
    if before is not None:
        bias = before @ weight + (0.0 if bias is None else bias)
    return plain.exact(f"{norm}.gain")[:, None] * weight, bias


def put_norm(out: Weights, plain: Plain, norm: str, stream: Stream) -> None:
    """A norm: without gain and bias where they were folded, else with both covered as the row that they act on."""
    if plain.post_norm:
        put(out, f"{norm}.gain", plain.exact(f"{norm}.gain") @ stream.write())
        put(out, f"{norm}.bias", plain.exact(f"{norm}.bias") @ stream.write())
        return
    put(out, f"{norm}.gain", np.full(stream.width, stream.gain))
    if f"{norm}.bias" in plain.weights:
        put(out, f"{norm}.bias", np.zeros(stream.width))


def put_producer(out: Weights, plain: Plain, name: str, weight: F64, stream: Stream) -> None:
    """A linear layer that adds to the residual stream, its input covered already."""
    put(out, f"{name}.weight", weight @ stream.write())
    bias = plain.optional(f"{name}.bias")
    if bias is not None:
        put(out, f"{name}.bias", bias @ stream.write())


def _attention(out: Weights, plain: Plain, name: str, draw: Draw, stream: Stream) -> None:
    heads = draw_heads(plain, draw)
    for part in "qkv":
        weight, bias = folded(plain, f"{name}.{part}", f"{name}.norm")
        put(out, f"{name}.{part}.weight", stream.read() @ heads.behind(part, weight))
        if bias is not None:
            put(out, f"{name}.{part}.bias", heads.behind(part, bias[None])[0])
    put_producer(out, plain, f"{name}.out", heads.before(plain.exact(f"{name}.out.weight")), stream)
    put_norm(out, plain, f"{name}.norm", stream)


def _feed_forward(out: Weights, plain: Plain, name: str, draw: Draw, stream: Stream) -> None:
    """Neurons change places; those behind a gate also take any factor, those behind ReLU a positive one."""
    order, scale = draw.order(plain.spec.ffn), _factors(plain, draw)
    for part in ("gate", "up") if plain.spec.gated else ("up",):
        weight, bias = folded(plain, f"{name}.{part}", f"{name}.norm")
        factor = scale if part == "up" else np.ones(plain.spec.ffn)
        put(out, f"{name}.{part}.weight", stream.read() @ (weight[:, order] * factor))
        if bias is not None:
            put(out, f"{name}.{part}.bias", bias[order] * factor)
    down = plain.exact(f"{name}.down.weight")[order] / scale[:, None]
    put_producer(out, plain, f"{name}.down", down, stream)
    put_norm(out, plain, f"{name}.norm", stream)


def _factors(plain: Plain, draw: Draw) -> F64:
    if plain.spec.gated:
        return draw.scales(plain.spec.ffn, spread=SPREAD) * draw.signs(plain.spec.ffn)
    if plain.spec.blocks[0].activation == "relu":
        return draw.scales(plain.spec.ffn, spread=SPREAD)
    return np.ones(plain.spec.ffn)
