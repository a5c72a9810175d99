"""Shapes of attention heads: rows cut into heads and merged again, wires reshaped and joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from privinf.protocols.masked.wires import Share, Wire, derive, map_share
from privinf.protocols.ring import U64, Shape


def derived(x: Wire, shape: Shape, local: Callable[[U64], U64]) -> Wire:
    """What a linear local map makes of a wire, of its public value and of its mask alike."""
    return derive([x], shape, x.bits, x.scale, public=local, mask=local)


def transpose(x: Wire) -> Wire:
    """The wire with its last two axes exchanged; local."""
    return derived(x, (*x.shape[:-2], x.shape[-1], x.shape[-2]), lambda v: np.swapaxes(v, -1, -2))


def reshape(x: Wire, shape: Shape) -> Wire:
    """The wire in another shape; local."""
    return x if shape == x.shape else derived(x, shape, lambda v: v.reshape(shape))


def repeated(x: Wire, batch: int) -> Wire:
    """The wire of one prompt for each of several; local, as all of them read one opening under one mask."""
    shape = (batch, *x.shape[1:])
    return x if shape == x.shape else derived(x, shape, lambda v: np.broadcast_to(v, shape))


def split_heads(x: Share, heads: int) -> Share:
    """(batch, tokens, width) as (batch, heads, tokens, head width)."""
    batch, tokens, width = x.shape
    cut = (batch, tokens, heads, width // heads)
    return map_share(x, (batch, heads, tokens, cut[3]), lambda v: v.reshape(cut).transpose(0, 2, 1, 3))


def merge_heads(x: Share) -> Share:
    """The inverse of `split_heads`."""
    batch, heads, tokens, width = x.shape
    shape = (batch, tokens, heads * width)
    return map_share(x, shape, lambda v: v.transpose(0, 2, 1, 3).reshape(shape))


def concatenate(wires: Sequence[Wire], axis: int) -> Wire:
    """One wire of several along an axis; local."""
    if len(wires) == 1:
        return wires[0]
    first, shape = wires[0], list(wires[0].shape)
    shape[axis] = sum(wire.shape[axis] for wire in wires)

    def join(*parts: U64) -> U64:
        return np.concatenate(parts, axis=axis)

    return derive(wires, tuple(shape), first.bits, first.scale, public=join, mask=join)


def stacked(shares: Sequence[Share]) -> Share:
    """One share of several of the same scale, in the smallest of their rings, along the rows (batch, rows, width)."""
    first, rows = shares[0], sum(share.shape[1] for share in shares)
    parts = [share.data for share in shares if share.data is not None]
    data = np.concatenate(parts, axis=1) if len(parts) == len(shares) else None
    bits, room = min(share.bits for share in shares), min(share.room for share in shares)
    return Share((first.shape[0], rows, first.shape[2]), bits, first.scale, data, room)


def below(shares: Sequence[Share]) -> Share:
    """One share of several (batch, rows, width) of one scale, row below row, in the smallest of their rings; local."""
    first, bits = shares[0], min(share.bits for share in shares)
    if any(share.scale != first.scale for share in shares):
        raise ValueError("shares of several scales are not one share")
    parts = [share.data for share in shares if share.data is not None]
    data = np.concatenate(parts, axis=1) if parts else None
    shape = (first.shape[0], sum(share.shape[1] for share in shares), first.shape[2])
    return Share(shape, bits, first.scale, data, min(share.room for share in shares))


def beside(first: Share, second: Share) -> Share:
    """One share of two of the same ring and scale, along the last axis; local."""
    data = None
    if first.data is not None and second.data is not None:
        data = np.concatenate((first.data, second.data), axis=-1)
    shape = (*first.shape[:-1], first.shape[-1] + second.shape[-1])
    return Share(shape, first.bits, first.scale, data)
