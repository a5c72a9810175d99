"""Shapes of attention heads: rows cut into heads and merged again, wires reshaped and joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privinf.protocols.masked.wires import Share, Wire, derive, map_share
from privinf.protocols.ring import U64, Shape


def transpose(x: Wire) -> Wire:
    """The wire with its last two axes exchanged; local."""

    def turn(v: U64) -> U64:
        return np.swapaxes(v, -1, -2)

    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2])
    return derive([x], shape, x.bits, x.scale, public=turn, mask=turn)


def reshape(x: Wire, shape: Shape) -> Wire:
    """The wire in another shape; local."""
    if shape == x.shape:
        return x

    def lay(v: U64) -> U64:
        return v.reshape(shape)

    return derive([x], shape, x.bits, x.scale, public=lay, mask=lay, linear=x.shared)


def split_heads(x: Share, heads: int) -> Share:
    """(batch, tokens, width) as (batch, heads, tokens, head width)."""
    batch, tokens, width = x.shape
    return map_share(
        x,
        (batch, heads, tokens, width // heads),
        lambda v: v.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3),
    )


def merged_shape(shape: Shape) -> Shape:
    """The shape that `merge_heads` gives."""
    batch, heads, tokens, width = shape
    return (batch, tokens, heads * width)


def merge_heads(v: U64) -> U64:
    """The inverse of `split_heads`, on ring elements."""
    return v.transpose(0, 2, 1, 3).reshape(merged_shape(v.shape))


def concatenate(wires: Sequence[Wire], axis: int) -> Wire:
    """One wire of several along an axis; local."""
    if len(wires) == 1:
        return wires[0]
    first, shape = wires[0], list(wires[0].shape)
    shape[axis] = sum(wire.shape[axis] for wire in wires)

    def join(*parts: U64) -> U64:
        return np.concatenate(parts, axis=axis)

    return derive(wires, tuple(shape), first.bits, first.scale, public=join, mask=join)
