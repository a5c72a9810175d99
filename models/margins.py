"""How far each site of a plan may go: the limits that its rings and tables set, beside what a text reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from privinf.models import decoder_plan as d
from privinf.models import plan as p
from privinf.models.decoder_plan import DecoderPlan
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.plan import AttentionPlan, Plan, RangeTable
from privinf.models.spec import EncoderSpec
from privinf.protocols.gates import exp2, softmax
from privinf.protocols.gates.activation import ACTIVATIONS
from privinf.protocols.gates.norm import NormSpec

Limits = dict[str, tuple[float, float]]  # by site: the smallest magnitude that is held, and the largest


@dataclass(frozen=True)
class Margin:
    """One site: the magnitudes that were seen there, and those that its ring or table holds."""

    site: str
    low: float
    high: float
    least: float
    most: float

    @property
    def bits(self) -> float:
        """Factors of two that are left; below zero the value wraps around, or saturates."""
        above = math.log2(self.most / self.high) if self.high else math.inf
        below = math.log2(self.low / self.least) if self.least and self.low else math.inf
        return min(above, below)


def margins(limits: Limits, seen: RangeTable) -> list[Margin]:
    """Every site that was seen and has limits, the closest first."""
    sites = [Margin(s, seen.low[s], seen.high[s], *limits[s]) for s in seen.high if s in limits]
    return sorted(sites, key=lambda margin: margin.bits)


def encoder_limits(spec: EncoderSpec, plan: Plan) -> Limits:
    """The limits of an encoder's sites."""
    limits: Limits = _norm("embed", plan.embed_norm)
    for i, layer in enumerate(plan.layers):
        limits |= _attention(f"layer{i}.attn", layer.attention, plan.max_tokens)
        limits |= _norm(f"layer{i}.attn", layer.attention_norm)
        limits |= _norm(f"layer{i}.ffn", layer.ffn_norm)
        limits[f"layer{i}.ffn.up"] = _activation(spec.activation, layer.hidden_bits)
    if spec.head == "none":
        return limits | {"pool.result": _ring(plan.result_bits, p.LINEAR)}
    return limits | {
        "head.pooler": _activation("tanh", plan.head_bits),
        "head.out": _ring(plan.result_bits, p.LINEAR),
    }


def decoder_limits(spec: DecoderSpec, plan: DecoderPlan) -> Limits:
    """The limits of a decoder's sites."""
    limits: Limits = _norm("head", plan.final_norm)
    for i, layer in enumerate(plan.layers):
        attn, ffn = f"layer{i}.attn", f"layer{i}.ffn"
        limits |= _attention(attn, layer.attention, plan.max_tokens)
        limits |= _norm(attn, layer.attention_norm) | _norm(ffn, layer.ffn_norm)
        limits[f"{ffn}.hidden"] = _ring(plan.residual_bits, d.OUT)
        limits[f"{ffn}.{'gate' if spec.gated else 'up'}"] = _activation(spec.activation, layer.gate_bits)
        if spec.gated:
            limits[f"{ffn}.up"] = _ring(layer.up_bits, d.UP)
        if spec.rope_theta:
            limits |= {f"{attn}.q": _ring(layer.query_bits, d.QK), f"{attn}.k": _ring(layer.key_bits, d.QK)}
    return limits | {"head.out": _ring(plan.result_bits, d.LINEAR)}


def _ring(bits: int, scale: int) -> tuple[float, float]:
    """Values at `scale` keep two bits of their ring: the sign, and what lifting needs."""
    return 0.0, 2.0 ** (bits - scale - 2)


def _norm(site: str, norm: NormSpec) -> Limits:
    return {
        f"{site}.residual": _ring(norm.bits, norm.drop + norm.scale),
        f"{site}.square": (2.0**norm.low, 2.0**norm.high),
    }


def _attention(site: str, plan: AttentionPlan, tokens: int) -> Limits:
    weight = softmax.weight_scale(plan.fine)
    vanish = exp2.BLOCK * exp2.blocks(weight)
    mixed = _ring(plan.value_bits, weight + plan.scales.values)[1]
    return {
        f"{site}.scores": (0.0, plan.offset - vanish / 2),
        f"{site}.v": _ring(plan.narrow_bits, plan.scales.values),
        f"{site}.attended": (0.0, mixed / tokens),
    }


def _activation(name: str, bits: int) -> tuple[float, float]:
    """Inputs beyond a table are right; beyond the ring they wrap around."""
    known: Mapping[str, str] = p.SAME_ACTIVATION
    if name == "relu":
        return _ring(bits, p.X)
    return 0.0, 2.0 ** (bits - p.X - 1) - 2.0 ** ACTIVATIONS[known.get(name, name)].block
