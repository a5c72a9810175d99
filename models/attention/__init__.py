"""Attention variants: a file each says how heads become mixed values, and in which rings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import Scales
from privinf.protocols.registry import Registry


class Attend(Protocol):
    """Values mixed by attention (batch, rows, width), heads side by side, as the output layer takes them."""

    def __call__(self, ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Rows: ...


@dataclass(frozen=True)
class Variant:
    """One variant; `rings` takes site, magnitudes, most keys, ring of the layer that follows, and scales."""

    attend: Attend
    rings: Callable[[str, Mapping[str, float], int, int, Scales], AttentionRings]


VARIANTS: Registry[Variant] = Registry("privinf.models.attention", "attention variant")
