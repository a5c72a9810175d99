"""Comparisons and equality on a masked wire from one distributed point function; bits come out shared modulo 2."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.kernels.reference import point_key_shape
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Party
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64


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
        keys, _ = ctx.kernels.dpf_gen(ctx.tree(), alpha, x.bits - 1, *ctx.roots(alpha.size))
        ctx.common(keys)
        ctx.share("top", negated >> np.uint64(x.bits - 1), 1)

    def evaluate(self, ctx: Party, x: Wire) -> tuple[Share, ...]:
        keys = ctx.keys(point_key_shape(x.bits - 1, ring.size_of(x.shape)))
        top = ctx.share("top", x.shape, 1)
        moved = np.stack(
            [ring.low(x.public - np.uint64(t % (1 << x.bits)), x.bits) for t in self._thresholds]
        )
        points = ring.low(np.uint64((1 << (x.bits - 1)) - 1) - moved, x.bits - 1).reshape(len(moved), -1)
        prefix = ctx.kernels.dpf_prefix(*keys, x.bits - 1, points).reshape(moved.shape)
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
        ctx.common(*point_key_shape(x.bits - 1, ring.size_of(x.shape)))
        ctx.share(x.shape, 1)

    def output(self, x: Wire) -> tuple[Share, ...]:
        return tuple(bit(x.shape) for _ in self._thresholds)


class Equals(Gate):
    """A shared bit 1{x = c} for a public c; exact on the whole ring."""

    name = "equals"

    def __init__(self, constant: int = 0) -> None:
        self._constant = constant

    def deal(self, ctx: Dealer, x: Wire) -> None:
        alpha = x.secret.reshape(-1)
        keys, _ = ctx.kernels.dpf_gen(ctx.tree(), alpha, x.bits, *ctx.roots(alpha.size))
        ctx.common(keys)

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        keys = ctx.keys(point_key_shape(x.bits, ring.size_of(x.shape)))
        points = ring.low(x.public - np.uint64(self._constant % (1 << x.bits)), x.bits).reshape(1, -1)
        found = ctx.kernels.dpf_bit(*keys, x.bits, points)
        return self.output(x, found[0].astype(np.uint64).reshape(x.shape))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        difference = ring.low(x.public - x.secret - np.uint64(self._constant % (1 << x.bits)), x.bits)
        return self.output(x, (difference == 0).astype(np.uint64))

    def cost(self, ctx: Counting, x: Wire) -> None:
        ctx.common(*point_key_shape(x.bits, ring.size_of(x.shape)))

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return bit(x.shape, data)
