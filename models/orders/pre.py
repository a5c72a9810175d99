"""Norms before what takes their rows, as in GPT-2 and Llama: the residual is a sum, and is never normalised itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from privinf.errors import ModelError
from privinf.models.attention import variant_of
from privinf.models.cache import POLICIES
from privinf.models.engines.observers import Ranges
from privinf.models.ops import Ops, Rows, Sum
from privinf.models.orders import Limits, Order
from privinf.models.parts import Layer, Model
from privinf.models.plan.ranges import bits_for, hidden_bits, norm_spec, pixel_bits, room_bits
from privinf.models.plan.rings import AttentionRings, FeedForwardRings, LayerRings, Plan
from privinf.models.plan.scales import PRE as SCALES
from privinf.models.spec import BlockSpec, Classifier, ModelSpec
from privinf.models.transformer import attend, feed, heads
from privinf.protocols import ring
from privinf.protocols.masked.gates import activation, power
from privinf.protocols.masked.gates.norm import NormSpec

GAIN = 12  # significant bits of a norm's inverse deviation
# An error of the last norm scales all logits of a row alike, so that one is finer.
LANES, FINAL = power.ROOT.count, power.FINE_ROOT.count
EMBED_BITS = 32  # of the largest ring that a row of embeddings is looked up in


def run(ops: Ops[Sum, Rows], model: Model, outputs: int | None) -> Rows | None:
    """The last rows of the residual, normalised, or the first; of others the last layer has keys and values alone."""
    *before, last = model.layers
    x = residual(ops, before)
    if outputs == 0:
        remember(ops, last, x)
        return None
    x = block(ops, last, x, outputs, model.head.first)
    assert model.head.norm is not None
    with ops.at(model.head.label):
        return ops.normalise(x, model.head.norm)


def residual(ops: Ops[Sum, Rows], layers: Sequence[Layer]) -> Sum:
    """The residual behind the first layers (batch, rows, width)."""
    x = ops.sums()
    for layer in layers:
        x = block(ops, layer, x)
    return x


def remember(ops: Ops[Sum, Rows], layer: Layer, x: Sum) -> None:
    """Of a layer, what later passes attend to. One row's queries are made with it, and not used."""
    part = layer.attention
    with ops.at(part.label):
        rows = ops.normalise(x, layer.attention_norm)
        POLICIES[part.cache](ops, part, heads(ops, part, rows, ops.tail(rows, 1)))


def block(ops: Ops[Sum, Rows], layer: Layer, x: Sum, asked: int | None = None, first: int = 0) -> Sum:
    """One layer: of all rows, of so many last ones, or of so many first ones, which attend to all."""
    part = layer.attention
    with ops.at(part.label):
        rows = ops.normalise(x, layer.attention_norm)
        asking = None
        if first:
            x, asking = ops.top(x, first), ops.first(rows, first)
        elif asked is not None:
            x, asking = ops.last(x, asked), ops.tail(rows, asked)
        x = ops.add(x, attend(ops, part, rows, asking))
    with ops.at(layer.ffn.label):
        return ops.add(x, feed(ops, layer.ffn, ops.normalise(x, layer.ffn_norm)))


def make_plan(spec: ModelSpec, ranges: Ranges, limits: Limits) -> Plan:
    """Plan a model for sessions of up to `max_tokens`."""
    max_tokens = limits.max_tokens
    together = spec.head.averaged if isinstance(spec.head, Classifier) else 1  # of halves, for instance
    outer = _residual_bits(spec, ranges)
    result = bits_for(ranges.high["head.out"] * together, SCALES.linear)
    plan = Plan(
        SCALES,
        max_tokens,
        tuple(_layer(spec, ranges, i, max_tokens, outer) for i in range(spec.layers)),
        result,
        embed_bits=math.ceil(math.log2(limits.embedding + 1e-9)) + SCALES.embed + 2
        if limits.embedding
        else 0,
        residual_bits=outer,
        pixel_bits=pixel_bits(limits.pixels, SCALES) if limits.pixels else 0,
        final_norm=_norm(spec, ranges, "head", result, FINAL),
        prefix=limits.prefix,
        cache=limits.cache,
    )
    _require_room(plan)
    return plan


def _residual_bits(spec: ModelSpec, ranges: Ranges) -> int:
    """The ring of the residual and of all that is added to it."""
    sites = [f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn")]
    bits = {f"{site}.residual": SCALES.residual for site in (*sites, "head")}
    bits |= {f"layer{i}.ffn.hidden": SCALES.outer for i in range(spec.layers)}
    needed = {site: bits_for(ranges.high[site], scale) for site, scale in bits.items()}
    widest = max(needed, key=lambda site: needed[site])
    beyond = SCALES.gate + SCALES.up if spec.gated else SCALES.rows + activation.EXTRA
    if needed[widest] + beyond - SCALES.outer > ring.MAX_BITS:
        raise ModelError(f"{widest}: values too large for a residual of 64 bits")
    return needed[widest]


def _layer(spec: ModelSpec, ranges: Ranges, i: int, max_tokens: int, outer: int) -> LayerRings:
    attn, ffn = f"layer{i}.attn", f"layer{i}.ffn"
    part = spec.blocks[i]
    attention = _attention(part, ranges, attn, max_tokens, outer)
    inner = hidden_bits(f"{ffn}.{'gate' if part.gated else 'up'}", ranges.high, part.activation, SCALES)
    up = bits_for(ranges.high[f"{ffn}.up"], SCALES.up) if part.gated else 0
    between = max(room_bits(inner, part.activation, SCALES), up + SCALES.linear - SCALES.up)
    return LayerRings(
        _norm(spec, ranges, attn, attention.inputs(SCALES)),
        attention,
        _norm(spec, ranges, ffn, between),
        FeedForwardRings(inner, up, outer),
    )


def _attention(block: BlockSpec, ranges: Ranges, site: str, max_tokens: int, outer: int) -> AttentionRings:
    """Queries and keys that positions turn afterwards are opened in rings of their own."""
    rings = variant_of(block.attention).rings(site, ranges.high, max_tokens, outer, SCALES)
    if block.rotary is None:
        return rings
    query, key = (bits_for(ranges.high[f"{site}.{part}"], SCALES.qk) for part in "qk")
    return replace(rings, query_bits=query, key_bits=key)


def _norm(spec: ModelSpec, ranges: Ranges, site: str, out_bits: int, lanes: int = LANES) -> NormSpec:
    scale, rows = SCALES.residual, SCALES.rows
    return norm_spec(site, ranges, spec, scale, out_bits, rows, gain=GAIN, lanes=lanes)


def _require_room(plan: Plan) -> None:
    """Refuse what would fail at the first query: a ring beyond 64 bits."""
    if plan.embed_bits > EMBED_BITS:
        raise ModelError("embeddings too large to be looked up")
    for i, layer in enumerate(plan.layers):
        if plan.residual_bits + layer.attention.drop(SCALES, plan.max_tokens) > ring.MAX_BITS:
            raise ModelError(f"layer{i}.attn: values too large for sessions of {plan.max_tokens} tokens")
        if layer.attention.widest(SCALES) + SCALES.rotary > ring.MAX_BITS:
            raise ModelError(f"layer{i}.attn: scores too large for rotary positions")


ENTRY = Order(run, SCALES, make_plan)
