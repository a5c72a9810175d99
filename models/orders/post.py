"""Norms behind what they follow, as in BERT: the residual is what a norm gave, and its gain comes back by a skip."""

from __future__ import annotations

from collections.abc import Sequence

from privinf.errors import ModelError
from privinf.models.attention import variant_of
from privinf.models.engines.observers import Ranges
from privinf.models.ops import Ops, Rows, Sum
from privinf.models.orders import Limits, Order
from privinf.models.parts import Layer, Model
from privinf.models.plan.ranges import HEADROOM, KNOWN, bits_for, hidden_bits, norm_spec, room_bits, sum_bits
from privinf.models.plan.rings import FeedForwardRings, LayerRings, Plan
from privinf.models.plan.scales import POST as SCALES
from privinf.models.spec import Classifier, ModelSpec
from privinf.models.transformer import attend, feed
from privinf.protocols import ring
from privinf.protocols.masked.gates import activation
from privinf.protocols.masked.gates.norm import NormSpec


def run(ops: Ops[Sum, Rows], model: Model, outputs: int | None) -> Rows:
    """The last layer's normalised rows (batch, rows, width), before gain and bias: the first where it serves."""
    assert model.embed_norm is not None
    with ops.at("embed"):
        x = ops.rows(model.embed_norm)
    *before, last = model.layers
    # Queries of other rows than the last ones cannot be turned by their places
    return block(
        ops, last, layers(ops, before, x), first=model.head.first > 0 and last.attention.rotary is None
    )


def layers(ops: Ops[Sum, Rows], parts: Sequence[Layer], x: Rows) -> Rows:
    """Layers on normalised rows."""
    for layer in parts:
        x = block(ops, layer, x)
    return x


def block(ops: Ops[Sum, Rows], layer: Layer, x: Rows, first: bool = False) -> Rows:
    """One layer on normalised rows: all of them, or the first, which attends to all."""
    assert layer.attention_skip is not None
    assert layer.ffn_skip is not None
    with ops.at(layer.attention.label):
        asking = ops.first(x) if first else x
        y = ops.skip(attend(ops, layer.attention, x, asking), asking, layer.attention_skip)
        x = ops.normalise(y, layer.attention_norm)
    with ops.at(layer.ffn.label):
        y = ops.skip(feed(ops, layer.ffn, x), x, layer.ffn_skip)
        return ops.normalise(y, layer.ffn_norm)


def make_plan(spec: ModelSpec, ranges: Ranges, limits: Limits) -> Plan:
    """Plan a model for texts of up to `max_tokens`."""
    high, max_tokens = ranges.high, limits.max_tokens
    residuals = [bits_for(high[f"layer{i}.attn.residual"], SCALES.linear) for i in range(spec.layers)]
    attention = [
        variant_of(spec.blocks[i].attention).rings(f"layer{i}.attn", high, max_tokens, residual, SCALES)
        for i, residual in enumerate(residuals)
    ]
    result = bits_for(high["pool.result" if spec.task == "embed" else "head.out"], SCALES.linear)
    dense = spec.head.dense if isinstance(spec.head, Classifier) else None
    pooler = _inside("head.pooler", ranges, dense, result) if dense is not None else None
    if dense is None or pooler is None:
        last = result + (sum_bits(max_tokens) if spec.sums else 0)
    else:
        last = max(result, room_bits(pooler.inner, dense, SCALES))
    into = [max(rings.inputs(SCALES), residual) for rings, residual in zip(attention, residuals, strict=True)]

    def norm(site: str, scale: int, out_bits: int, headroom: int = HEADROOM) -> NormSpec:
        return norm_spec(site, ranges, spec, scale, out_bits, SCALES.rows, headroom=headroom)

    layers = []
    for i, after in enumerate([*into[1:], last]):
        site = f"layer{i}"
        outer = bits_for(high[f"{site}.ffn.residual"], SCALES.linear)
        ffn = _inside(f"{site}.ffn.up", ranges, spec.blocks[i].activation, outer)
        before = norm(
            f"{site}.attn", SCALES.linear, max(room_bits(ffn.inner, spec.blocks[i].activation, SCALES), outer)
        )
        layers.append(LayerRings(before, attention[i], norm(f"{site}.ffn", SCALES.linear, after), ffn))
    embed = norm("embed", SCALES.embed, into[0], KNOWN)
    plan = Plan(SCALES, max_tokens, tuple(layers), result, embed_norm=embed, pooler=pooler)
    _require_room(plan, last)
    return plan


def _inside(site: str, ranges: Ranges, name: str, outer: int) -> FeedForwardRings:
    return FeedForwardRings(hidden_bits(site, ranges.high, name, SCALES), 0, outer)


def _require_room(plan: Plan, last: int) -> None:
    """Refuse what would fail at the first query: a ring beyond 64 bits."""
    for i, layer in enumerate(plan.layers):
        if layer.attention.outer + layer.attention.drop(SCALES, plan.max_tokens) > ring.MAX_BITS:
            raise ModelError(f"layer{i}.attn: values too large for texts of {plan.max_tokens} tokens")
        if layer.ffn.outer + activation.EXTRA > ring.MAX_BITS:
            raise ModelError(f"layer{i}.ffn: values too large to follow an activation")
    if plan.pooler is not None and plan.pooler.outer + activation.EXTRA > ring.MAX_BITS:
        raise ModelError("head: values too large to follow an activation")
    if last > ring.MAX_BITS:
        raise ModelError(f"pool: values too large for a sum of {plan.max_tokens} rows in {last} bits")


ENTRY = Order(run, SCALES, make_plan, skips=frozenset(("attn", "ffn")), last=False)
