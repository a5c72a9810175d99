"""Checks that a client's pair of point-function keys selects one row: plus or minus one one-hot, and nothing else.

Whatever the client sent, the parties hold bits whose difference is some v in {-1, 0, 1}^V. With r that it cannot know,
    A = sum r_i v_i        B = sum r_i^2 v_i        D = sum v_i        modulo 2^64
are local sums, and A^2 - D B = -sum over i < j of v_i v_j (r_i - r_j)^2. A row passes if D is odd and that is zero.
For plus or minus a one-hot it is, and D is its sign: the key itself says it, and a client has none to claim.

Soundness: anything else passes with less than 2^-57 (r uniform and unknown when the keys were made; V of any size).
An odd D leaves k = 3, 5, ... entries. Only differences of r matter: let one of these r be 0. In the others D B - A^2 is
a quadratic form with the matrix D diag(v) - v v^T. Its determinant, D^(k - 2) up to its sign, is odd and its diagonal
even: an invertible change of variables modulo 2^64, which keeps them uniform, makes the form twice a sum of terms x y
or x^2 + x y + y^2, each in two variables of its own. Whatever value modulo 2^63 the rest asks of one term, it has that
with at most 65 / 2^64, which is the chance of x y = 0.
"""

from __future__ import annotations

import numpy as np

from privinf.protocols import prg, ring
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.gates.linear import ToShare, matmul
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.wires import Share, Wire, map_share, map_wire, subtract
from privinf.protocols.ring import U64

WORDS = prg.SEED_BYTES // 8
SUMS = 3  # A, B and D
REFUSAL = "a key of this query does not select one row of its table"


def open_sums(ctx: Interpreter, vectors: Share) -> Wire:
    """Queue the opening of A, B and D of each vector (..., V), a share modulo 2^64 of the difference of the bits.

    One call for all rows that are looked up in a table; give the result to `require_one_row`.
    """
    return ctx.open(ctx.run(Sums(), vectors))


def require_one_row(ctx: Interpreter, sums: Wire) -> Wire:
    """The sign (..., 1) of each vector, a wire modulo 2^64; no round.

    If some vector is not plus or minus a one-hot, both parties raise InputError when the next round ends: a digest each
    way goes with the openings of that round, and says nothing but whether all is well.
    """
    first, second, sign = (_part(sums, i) for i in range(SUMS))
    square = ctx.run(Product(ring.MAX_BITS), first, first)
    product = ctx.run(Product(ring.MAX_BITS), sign, second)
    total = ctx.run(ToShare(), sign)
    top = np.uint64(1 << 63)
    odd = map_share(total, total.shape, lambda v: v * top)
    even = ctx.add_public(odd, top)  # zero where the sum is odd
    ctx.require_zero((subtract(square, product), even), REFUSAL)
    return sign


def _part(sums: Wire, which: int) -> Wire:
    return map_wire(sums, (*sums.shape[:-1], 1), lambda v: v[..., which : which + 1])


def _columns(coins: U64, size: int) -> U64:
    """r^1, r^2 and 1 in three columns, from a seed that dealer and parties share."""
    r = prg.elements(coins.astype("<u8").tobytes(), "selection", (size,), ring.MAX_BITS)
    return np.stack((r, r * r, np.ones_like(r)), axis=-1)


class Sums(Gate):
    """[A, B, D] of vectors modulo 2^64, from a seed that is dealt to both parties; exact for any integers."""

    name = "selection"

    def deal(self, ctx: Dealer, vectors: Share) -> None:
        ctx.common(ctx.masks("coins", (WORDS,), ring.MAX_BITS))

    def evaluate(self, ctx: Party, vectors: Share) -> Share:
        return self._summed(ctx, vectors, ctx.common((WORDS,), np.uint64))

    def ideal(self, ctx: Ideal, vectors: Share) -> Share:
        return self._summed(ctx, vectors, ctx.masks("coins", (WORDS,), ring.MAX_BITS))

    def cost(self, ctx: Counting, vectors: Share) -> None:
        ctx.common(prg.SEED_BYTES)

    def _summed(self, ctx: Interpreter, vectors: Share, coins: U64) -> Share:
        columns = _columns(coins, vectors.shape[-1])
        return self.output(vectors, matmul(ctx.kernels, vectors.value, columns))

    def output(self, vectors: Share, data: U64 | None = None) -> Share:
        return Share((*vectors.shape[:-1], SUMS), ring.MAX_BITS, 0, data)
