"""Norms before both parts; the second starts from its norm's rows, as in ViT-Lite: x = LN(x); x = x + MLP(x)."""

from __future__ import annotations

from privinf.errors import ModelError
from privinf.models.attention import variant_of
from privinf.models.engines.observers import Ranges
from privinf.models.ops import Ops, Rows, Sum
from privinf.models.orders import Limits, Order
from privinf.models.parts import Layer, Model
from privinf.models.plan.ranges import bits_for, hidden_bits, norm_spec, pixel_bits, room_bits
from privinf.models.plan.rings import FeedForwardRings, LayerRings, Plan
from privinf.models.plan.scales import POST as SCALES
from privinf.models.spec import ModelSpec
from privinf.models.transformer import attend, feed
from privinf.protocols import ring
from privinf.protocols.masked.gates import activation, power
from privinf.protocols.masked.gates.norm import NormSpec


def run(ops: Ops[Sum, Rows], model: Model, outputs: int | None) -> Rows:
    """Rows behind the last norm (batch, rows, width), before gain and bias: the first ones where they serve."""
    *before, last = model.layers
    x = ops.sums()
    for layer in before:
        x = block(ops, layer, x)
    x = block(ops, last, x, model.head.first)
    assert model.head.norm is not None
    with ops.at(model.head.label):
        return ops.normalise(x, model.head.norm)


def block(ops: Ops[Sum, Rows], layer: Layer, x: Sum, first: int = 0) -> Sum:
    """One layer: of all rows, or of so many first ones, which attend to all."""
    assert layer.ffn_skip is not None
    with ops.at(layer.attention.label):
        rows, asking = ops.normalise(x, layer.attention_norm), None
        if first:
            x, asking = ops.top(x, first), ops.first(rows, first)
        x = ops.add(x, attend(ops, layer.attention, rows, asking))
    with ops.at(layer.ffn.label):
        rows = ops.normalise(x, layer.ffn_norm)
        return ops.skip(feed(ops, layer.ffn, rows, first), rows, layer.ffn_skip)


def make_plan(spec: ModelSpec, ranges: Ranges, limits: Limits) -> Plan:
    """Plan a model for images of `max_tokens` rows. What is added to a norm's rows has the scale of the residual."""
    outer, result = _residual_bits(spec, ranges), bits_for(ranges.high["head.out"], SCALES.linear)
    plan = Plan(
        SCALES,
        limits.max_tokens,
        tuple(_layer(spec, ranges, i, limits.max_tokens, outer) for i in range(spec.layers)),
        result,
        residual_bits=outer,
        pixel_bits=pixel_bits(limits.pixels, SCALES),
        final_norm=_norm(spec, ranges, "head", result, power.FINE_ROOT.count),
        cache=limits.cache,
    )
    _require_room(plan)
    return plan


def _residual_bits(spec: ModelSpec, ranges: Ranges) -> int:
    """The ring of the residual and of all that is added to it."""
    sites = [f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn")]
    seen = [ranges.high[f"{site}.residual"] for site in (*sites, "head")]
    hidden = (f"layer{i}.ffn.hidden" for i in range(spec.layers))
    seen += [ranges.high[site] for site in hidden if site in ranges.high]
    return bits_for(max(seen), SCALES.residual)


def _layer(spec: ModelSpec, ranges: Ranges, i: int, max_tokens: int, outer: int) -> LayerRings:
    attn, ffn, part = f"layer{i}.attn", f"layer{i}.ffn", spec.blocks[i]
    attention = variant_of(part.attention).rings(attn, ranges.high, max_tokens, outer, SCALES)
    inner, rows = 0, outer
    if f"{ffn}.up" in ranges.high:  # not where no row bends
        inner = hidden_bits(f"{ffn}.up", ranges.high, part.activation, SCALES)
        rows = max(room_bits(inner, part.activation, SCALES), outer)
    return LayerRings(
        _norm(spec, ranges, attn, attention.inputs(SCALES)),
        attention,
        _norm(spec, ranges, ffn, rows),
        FeedForwardRings(inner, 0, outer),
    )


def _norm(
    spec: ModelSpec, ranges: Ranges, site: str, out_bits: int, lanes: int = power.ROOT.count
) -> NormSpec:
    return norm_spec(site, ranges, spec, SCALES.residual, out_bits, SCALES.rows, lanes=lanes)


def _require_room(plan: Plan) -> None:
    """Refuse what would fail at the first query: a ring beyond 64 bits."""
    if plan.residual_bits + activation.EXTRA > ring.MAX_BITS:
        raise ModelError("values too large for a residual of 64 bits")
    for i, layer in enumerate(plan.layers):
        if layer.attention.outer + layer.attention.drop(SCALES, plan.max_tokens) > ring.MAX_BITS:
            raise ModelError(f"layer{i}.attn: values too large for images of {plan.max_tokens} rows")


ENTRY = Order(run, SCALES, make_plan, skips=frozenset(("ffn",)))
