"""How far each site of a plan may go: the limits that its rings and tables set, beside what a text reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privinf.models.attention import variant_of
from privinf.models.engines.observers import Ranges
from privinf.models.functions import FUNCTIONS
from privinf.models.parts import FeedForward, Model, planned
from privinf.models.plan.ranges import Limits, held
from privinf.models.plan.scales import Scales
from privinf.protocols.masked.gates.norm import NormSpec


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


def margins(limits: Limits, seen: Ranges) -> list[Margin]:
    """Every site that was seen and has limits, the closest first."""
    sites = [Margin(s, seen.low[s], seen.high[s], *limits[s]) for s in seen.high if s in limits]
    return sorted(sites, key=lambda margin: margin.bits)


def limits(model: Model, max_tokens: int) -> Limits:
    """The limits of a planned model's sites, for texts or sessions of up to so many tokens."""
    found: Limits = {}
    for norm in model.norms:
        found |= _norm(norm.site, planned(norm.rings))
    for layer in model.layers:
        found |= variant_of(layer.attention.variant).limits(layer.attention, model.scales, max_tokens)
    for part in model.feed_forwards:
        found |= _feed_forward(part, model.scales)
    return found | {model.head.site: held(model.head.bits, model.scales.linear)}


def _norm(site: str, norm: NormSpec) -> Limits:
    return {
        f"{site}.residual": held(norm.bits, norm.drop + norm.scale),
        f"{site}.square": (2.0**norm.low, 2.0**norm.high),
    }


def _feed_forward(part: FeedForward, scales: Scales) -> Limits:
    rings = planned(part.rings)
    found = {
        f"{part.label.replace('/', '.')}.hidden": held(rings.outer, scales.outer),
        (part.gate or part.up).name: (0.0, FUNCTIONS[part.activation].most(rings.inner, scales.rows)),
    }
    return found | {part.up.name: held(rings.up, scales.up)} if part.gate else found
