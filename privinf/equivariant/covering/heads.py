"""Covers inside attention: heads change places, and each one's rows are mapped so that scores and sums stay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from privinf.equivariant.covering.covers import invertible, turning
from privinf.equivariant.covering.draw import F64, Draw, Ids
from privinf.equivariant.covering.plain import Plain


@dataclass(frozen=True, eq=False)
class Heads:
    """One layer's; maps are (covered heads, head width, head width).

    Attributes:
        order: the plain head at each covered place; a group that shares keys stays together.
        shared: the same for heads of keys and values.
        maps: of q, k and v, behind their projections.
        out: undoes v's, before the output's projection.
    """

    order: Ids = field(repr=False)
    shared: Ids = field(repr=False)
    maps: dict[str, F64] = field(repr=False)
    out: F64 = field(repr=False)

    def behind(self, part: str, x: F64) -> F64:
        """x (rows, heads x head width) of q, k or v as it is covered."""
        order, maps = self.order if part == "q" else self.shared, self.maps[part]
        split = x.reshape(len(x), len(order), -1)[:, order]
        return (split.transpose(1, 0, 2) @ maps).transpose(1, 0, 2).reshape(len(x), -1)

    def before(self, x: F64) -> F64:
        """x (heads x head width, columns), which takes what the heads sum up."""
        split = x.reshape(len(self.order), -1, x.shape[1])[self.order]
        return (self.out @ split).reshape(x.shape)


def draw_heads(plain: Plain, draw: Draw) -> Heads:
    """Maps for one layer.

    Learned positions allow any invertible map of a head's queries, rotary ones only those that commute with turning.
    """
    groups, size = plain.spec.kv_heads, plain.spec.head_width
    each = plain.spec.heads // groups
    shared = draw.order(groups)
    inner = np.stack([draw.order(each) for _ in range(groups)])
    if plain.spec.rotary:
        q, k = turning(draw, size, groups)
    else:
        q, inverse = invertible(draw, size, groups)
        k = np.swapaxes(inverse, -1, -2)
    v, undo = invertible(draw, size, groups)
    return Heads(
        order=(shared[:, None] * each + inner).ravel(),
        shared=shared,
        maps={"q": np.repeat(q, each, axis=0), "k": k, "v": v},
        out=np.repeat(undo, each, axis=0),
    )
