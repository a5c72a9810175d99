"""Attention variants: a file each says how heads become mixed values, and in which rings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention
from privinf.models.plan.ranges import Limits
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import Scales
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.registry import Registry


class Attend(Protocol):
    """Values mixed by attention (batch, rows, width), heads side by side, as the output layer takes them."""

    def __call__(self, ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Rows: ...


Parts = list[bytes]  # of one table


@dataclass(frozen=True)
class Variant:
    """One variant.

    rings: from site, magnitudes, most keys, ring of the layer that follows, and scales. tables: what dealer and
    parties look up, for so many keys, by a name under which equal tables are one: all roles must hold the same.
    limits: the magnitudes that its sites hold.
    """

    attend: Attend
    rings: Callable[[str, Mapping[str, float], int, int, Scales], AttentionRings]
    tables: Callable[[Attention, Scales, int], Iterator[tuple[str, Parts]]]
    limits: Callable[[Attention, Scales, int], Limits]


def parts_of(factors: Factors) -> Parts:
    """A separable table as it is compared."""
    shape = (factors.first, factors.far, factors.scale, factors.near.shape)
    return [repr(shape).encode(), factors.payload.tobytes(), factors.near.tobytes()]


VARIANTS: Registry[Variant] = Registry("privinf.models.attention", "attention variant")
