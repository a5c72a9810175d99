"""One shared bit: whether all wires of a program stayed in their rings.

`begin` deals the coins. From then on lifts and `watch` add what openings cut off, k of each element, to combinations
modulo 4 that stay shared (`watched`). `open_combinations` opens all, 40 bits, under masks, with whatever is
opened in that round; `in_range` finds from that whether they are all zero.

Missed, for values that some k tells: if a k is odd all combinations are uniform, 4^-20; if all are even they are so
among even ones, 2^-20. Coins are the dealer's, and neither model nor client know them when values are chosen.

Secrecy. The combinations are opened under masks of their own, each modulo 4, so that what is opened is uniform whatever
they are; the key is a point function's at the joined masks. A party's bit is random to who lacks the other's key. The
dealer made both keys, so to a client that the dealer helps a party's bit would say more than whether all combinations
are zero: both are turned by a bit that the parties draw from a byte each, which go between them and nowhere else.
"""

from __future__ import annotations

import numpy as np

from privinf.protocols import prg, ring
from privinf.protocols.kernels.excess import COMBINATIONS
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.gates.compare import Equals
from privinf.protocols.masked.watched import SPARE, Watched
from privinf.protocols.masked.wires import Share, Wire, derive
from privinf.protocols.ring import U64

WORDS = prg.SEED_BYTES // 8


def begin(ctx: Interpreter, before: U64 | None = None) -> None:
    """Check the ranges of what is opened from now on; `before` are a role's combinations of an earlier program."""
    ctx.watched = ctx.run(Coins())
    if before is not None:
        ctx.watched.plus(before)


def open_combinations(ctx: Interpreter) -> Wire:
    """Queue their opening, after the last wire that is checked; and with it the bit that hides the answer."""
    assert ctx.watched is not None
    ctx.settle()
    ctx.toss()
    return ctx.open(Share((COMBINATIONS,), SPARE, 0, ctx.watched.sums))


def in_range(ctx: Interpreter, combinations: Wire) -> Share:
    """A shared bit (1,), one where all are zero; no round."""

    def joined(v: U64) -> U64:
        places = np.uint64(SPARE) * np.arange(COMBINATIONS, dtype=np.uint64)
        whole: U64 = (v << places).sum(keepdims=True, dtype=np.uint64)
        return whole

    bits = SPARE * COMBINATIONS
    wire = derive([combinations], (1,), bits, 0, public=joined, mask=joined, linear=False)
    zero: Share = ctx.run(Equals(), wire)
    return ctx.run(Turned(), zero)  # type: ignore[no-any-return]


class Coins(Gate):
    """A seed of combinations, dealt to both parties."""

    name = "coins"

    def deal(self, ctx: Dealer) -> None:
        ctx.common(ctx.masks("coins", (WORDS,), ring.MAX_BITS))

    def evaluate(self, ctx: Party) -> Watched:
        return Watched(_seed(ctx.common((WORDS,), np.uint64)), ctx.index)

    def ideal(self, ctx: Ideal) -> Watched:
        return Watched(_seed(ctx.masks("coins", (WORDS,), ring.MAX_BITS)))

    def cost(self, ctx: Counting) -> None:
        ctx.common(prg.SEED_BYTES)

    def output(self) -> Watched:
        return Watched()


class Turned(Gate):
    """The same shared bit, each part turned by the bit that both parties tossed last."""

    name = "turned"

    def evaluate(self, ctx: Party, x: Share) -> Share:
        return self.output(x, x.value ^ ctx.tossed)

    def ideal(self, ctx: Ideal, x: Share) -> Share:
        return x

    def output(self, x: Share, data: U64 | None = None) -> Share:
        return Share(x.shape, x.bits, x.scale, data)


def _seed(coins: U64) -> bytes:
    return coins.astype("<u8").tobytes()
