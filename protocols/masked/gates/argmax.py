"""The place of a row's largest value by a tournament: two rounds for each halving, and nobody learns who won."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.gates.compare import AtLeast
from privinf.protocols.masked.gates.linear import ToShare
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, add, derive, map_share, map_wire
from privinf.protocols.ring import U64


def argmax(ctx: Interpreter, x: Wire) -> Share:
    """[place of the largest entry along the last axis, kept], unsigned; the first of equals.

    The share is modulo 2^`ring.index_bits(row)`, and is not masked afresh. 2 ceil(log2 row) rounds, the last of which
    opens it. Domain: differences of entries below 2^(n-1) in magnitude, n <= 62; exact.
    """
    width = x.shape[-1]
    bits = ring.index_bits(width)
    places: Wire | None = None
    while (size := x.shape[-1]) > 1:
        ctx.mask_share(x)
        pairs = size // 2
        left, right = _every(x, 0, pairs), _every(x, 1, pairs)
        (bit,) = ctx.run(AtLeast(), _difference(left, right))
        won = ctx.open(bit)
        if places is None:
            found = _first_places(ctx, won, pairs, bits)
        else:
            found = _choose(ctx, won, _every(places, 0, pairs), _every(places, 1, pairs), bits)
        if pairs == size - 1:
            return found
        best = _choose(ctx, won, left, right, x.bits)
        if size % 2:
            best = _beside(best, ctx.run(ToShare(), _rest(x, size)))
            found = _beside(found, _last_place(ctx, places, x, bits))
        x, places = ctx.open(best), ctx.open(found)
    return Share(x.shape, bits, 0, None if x.source is None else np.zeros(x.shape, dtype=np.uint64))


def _choose(ctx: Interpreter, won: Wire, left: Wire, right: Wire, bits: int) -> Share:
    """[left where won, else right]: right + won * (left - right)."""
    step: Share = ctx.run(Product(bits), won, _difference(left, right))
    return add(step, ctx.run(ToShare(), right))


def _first_places(ctx: Interpreter, won: Wire, pairs: int, bits: int) -> Share:
    """Of entries 2i and 2i + 1 the place 2i + 1 - won."""
    bit: Share = ctx.run(Product(bits), won)
    right: U64 = np.arange(1, 2 * pairs, 2, dtype=np.uint64)
    return ctx.add_public(map_share(bit, bit.shape, np.negative), right)


def _last_place(ctx: Interpreter, places: Wire | None, x: Wire, bits: int) -> Share:
    """The place of an entry that has no partner."""
    size = x.shape[-1]
    if places is not None:
        share: Share = ctx.run(ToShare(), _rest(places, size))
        return share
    shape = (*x.shape[:-1], 1)
    nothing: Share = ctx.run(ToShare(), _rest(x, size))
    zero = map_share(Share(shape, bits, 0, nothing.data), shape, np.zeros_like)
    return ctx.add_public(zero, np.uint64(size - 1))


def _difference(left: Wire, right: Wire) -> Wire:
    bits = left.bits

    def subtract(a: U64, b: U64) -> U64:
        return ring.low(a - b, bits)

    return derive([left, right], left.shape, bits, left.scale, public=subtract, mask=subtract)


def _every(x: Wire, start: int, pairs: int) -> Wire:
    return map_wire(x, (*x.shape[:-1], pairs), lambda v: v[..., start : 2 * pairs : 2])


def _rest(x: Wire, size: int) -> Wire:
    return map_wire(x, (*x.shape[:-1], 1), lambda v: v[..., size - 1 :])


def _beside(first: Share, second: Share) -> Share:
    data = None
    if first.data is not None and second.data is not None:
        data = np.concatenate((first.data, second.data), axis=-1)
    shape = (*first.shape[:-1], first.shape[-1] + second.shape[-1])
    return Share(shape, first.bits, first.scale, data)
