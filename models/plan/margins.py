"""How far each site of a plan may go: the limits that its rings and tables set, beside what a text reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privinf.models.functions import FUNCTIONS
from privinf.models.parts import Attention, FeedForward, Model, planned
from privinf.models.plan.ranges import RangeTable
from privinf.models.plan.scales import Scales
from privinf.protocols.masked.gates import exp2, softmax
from privinf.protocols.masked.gates.norm import NormSpec

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


def limits(model: Model, max_tokens: int) -> Limits:
    """The limits of a planned model's sites, for texts or sessions of up to so many tokens."""
    found: Limits = {}
    for norm in model.norms:
        found |= _norm(norm.site, planned(norm.rings))
    for layer in model.layers:
        found |= _attention(layer.attention, model.scales, max_tokens)
    for part in model.feed_forwards:
        found |= _feed_forward(part, model.scales)
    return found | {model.head.site: _ring(model.head.bits, model.scales.linear)}


def _ring(bits: int, scale: int) -> tuple[float, float]:
    """Values at `scale` keep two bits of their ring: the sign, and what lifting needs."""
    return 0.0, 2.0 ** (bits - scale - 2)


def _norm(site: str, norm: NormSpec) -> Limits:
    return {
        f"{site}.residual": _ring(norm.bits, norm.drop + norm.scale),
        f"{site}.square": (2.0**norm.low, 2.0**norm.high),
    }


def _attention(part: Attention, scales: Scales, tokens: int) -> Limits:
    rings, site = planned(part.rings), part.site
    weight = softmax.weight_scale(rings.fine)
    vanish = exp2.BLOCK * exp2.blocks(weight)
    mixed = _ring(rings.value_bits, weight + scales.values)[1]
    found = {
        f"{site}.scores": (0.0, rings.offset - vanish / 2),
        f"{site}.v": _ring(rings.narrow_bits, scales.values),
        f"{site}.attended": (0.0, mixed / tokens),
    }
    if part.rotary is None:
        return found
    return found | {
        f"{site}.q": _ring(rings.query_bits, scales.qk),
        f"{site}.k": _ring(rings.key_bits, scales.qk),
    }


def _feed_forward(part: FeedForward, scales: Scales) -> Limits:
    rings = planned(part.rings)
    found = {
        f"{part.label.replace('/', '.')}.hidden": _ring(rings.outer, scales.outer),
        (part.gate or part.up).name: (0.0, FUNCTIONS[part.activation].most(rings.inner, scales.rows)),
    }
    return found | {part.up.name: _ring(rings.up, scales.up)} if part.gate else found
