"""Comparisons and equality on a masked wire from one distributed point function; bits come out shared modulo 2."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.gates.base import Gate
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64

LEAF_BITS = 7


def point_key_bytes(bits: int) -> int:
    """Correction words of a one-bit point function on `bits` bits: 16 bytes a level, leaves of 128 bits."""
    return 16 * (max(bits - LEAF_BITS, 0) + 1)


def point_key_shape(bits: int, count: int) -> tuple[int, int, int]:
    return (max(bits - LEAF_BITS, 0) + 1, count, 16)


def bit(shape: tuple[int, ...], data: U64 | None = None) -> Share:
    """A bit shared modulo 2."""
    return Share(shape, 1, 0, data)


class AtLeast(Gate):
    """Shared bits 1{x >= t} for each public threshold t, from one key.

    Domain: -2^(n-1) <= x - t < 2^(n-1) for the signed x of an n-bit wire; exact. One key of n - 1 bits
    serves all thresholds: each result is opened under a mask of its own.
    """

    name = "at_least"

    def __init__(self, thresholds: tuple[int, ...] = (0,)) -> None:
        self._thresholds = thresholds

    def deal(self, ctx: Dealer, x: Wire) -> None:
        negated = ring.low(-x.secret, x.bits)
        alpha = ring.low(negated, x.bits - 1).reshape(-1)
        keys, _ = ctx.kernels.dpf_gen(ctx.tree(), alpha, x.bits - 1, *ctx.roots("key", alpha.size))
        ctx.common(keys)
        ctx.share("top", negated >> np.uint64(x.bits - 1), 1)

    def evaluate(self, ctx: Party, x: Wire) -> tuple[Share, ...]:
        size = ring.size_of(x.shape)
        keys = ctx.common(point_key_shape(x.bits - 1, size))
        top = ctx.share("top", x.shape, 1)
        moved = np.stack(
            [ring.low(x.public - np.uint64(t % (1 << x.bits)), x.bits) for t in self._thresholds]
        )
        points = ring.low(np.uint64((1 << (x.bits - 1)) - 1) - moved, x.bits - 1)
        prefix = ctx.kernels.dpf_prefix(
            ctx.tree(),
            ctx.index,
            ctx.roots("key", size),
            keys,
            x.bits - 1,
            points.reshape(len(self._thresholds), size),
        ).reshape(moved.shape)
        high = moved >> np.uint64(x.bits - 1)
        return tuple(
            bit(x.shape, ring.low(prefix[i] + top + ctx.public_term(high[i]), 1)) for i in range(len(high))
        )

    def ideal(self, ctx: Ideal, x: Wire) -> tuple[Share, ...]:
        moved = [
            ring.signed(x.public - x.secret - np.uint64(t % (1 << x.bits)), x.bits) for t in self._thresholds
        ]
        return tuple(bit(x.shape, (m >= 0).astype(np.uint64)) for m in moved)

    def cost(self, ctx: Counting, x: Wire) -> None:
        size = ring.size_of(x.shape)
        ctx.common(size * point_key_bytes(x.bits - 1))
        ctx.share(x.shape, 1)

    def output(self, x: Wire) -> tuple[Share, ...]:
        return tuple(bit(x.shape) for _ in self._thresholds)


class Equals(Gate):
    """A shared bit 1{x = c} for a public c; exact on the whole ring."""

    name = "equals"

    def __init__(self, constant: int = 0) -> None:
        self._constant = constant

    def deal(self, ctx: Dealer, x: Wire) -> None:
        keys, _ = ctx.kernels.dpf_gen(
            ctx.tree(), x.secret.reshape(-1), x.bits, *ctx.roots("key", x.secret.size)
        )
        ctx.common(keys)

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        size = ring.size_of(x.shape)
        keys = ctx.common(point_key_shape(x.bits, size))
        points = ring.low(x.public - np.uint64(self._constant % (1 << x.bits)), x.bits).reshape(1, -1)
        found = ctx.kernels.dpf_bit(ctx.tree(), ctx.index, ctx.roots("key", size), keys, x.bits, points)
        return self.output(x, found[0].astype(np.uint64).reshape(x.shape))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        difference = ring.low(x.public - x.secret - np.uint64(self._constant % (1 << x.bits)), x.bits)
        return self.output(x, (difference == 0).astype(np.uint64))

    def cost(self, ctx: Counting, x: Wire) -> None:
        ctx.common(ring.size_of(x.shape) * point_key_bytes(x.bits))

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return bit(x.shape, data)
