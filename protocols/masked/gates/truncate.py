"""Truncation of a share in its own ring for one opened bit an element, never wrong by more than one unit.

Each party shifts its part of z = x + 2^(k-2) >= 0; what is missing is whether the parts wrap around 2^k.
As z < 2^(k-1), they do exactly if either top bit is set, so each party opens the complement a_b of its top
bit under the mask c_b that it draws alone, and the dealer shares c_0*c_1.
"""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.gates.base import Gate
from privinf.protocols.masked.gates.compare import bit
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64

ONE, TWO = np.uint64(1), np.uint64(2)


def truncate(ctx: Interpreter, x: Share, count: int) -> Share:
    """[x >> count], or one more, modulo 2^k in one round; |x| < 2^(k-2).

    Rounded up with the probability of the fraction that is cut (2^-count more), over the sharing of x. The
    ideal interpreter, which has no parts to shift, rounds to nearest.
    """
    if not 1 <= count <= x.bits - 2:
        raise ValueError(f"between 1 and {x.bits - 2} bits can be cut off a ring of {x.bits}")
    clear_top: Share = ctx.run(ClearTop(), x)
    opened = ctx.open(clear_top)
    result: Share = ctx.run(Shift(count, ctx.name), opened, clear_top, x)
    return result


def _moved(ctx: Party, x: Share) -> U64:
    """This party's part of z."""
    return ring.low(x.value + ctx.public_term(_quarter(x)), x.bits)


def _quarter(x: Share) -> U64:
    return np.full(x.shape, 1 << (x.bits - 2), dtype=np.uint64)


class ClearTop(Gate):
    """1 where the top bit of a party's own part of z is clear: a private bit of each party, not a share of anything."""

    name = "clear_top"

    def evaluate(self, ctx: Party, x: Share) -> Share:
        return self.output(x, ONE - (_moved(ctx, x) >> np.uint64(x.bits - 1)))

    def ideal(self, ctx: Ideal, x: Share) -> Share:
        return self.output(x, np.zeros(x.shape, dtype=np.uint64))

    def output(self, x: Share, data: U64 | None = None) -> Share:
        return bit(x.shape, data)


class Shift(Gate):
    """The shifted parts without their wrap; `opening` names the opening of the private bits."""

    name = "shift"

    def __init__(self, count: int, opening: str) -> None:
        self._count = count
        self._opening = opening

    def deal(self, ctx: Dealer, opened: Wire, clear_top: Share, x: Share) -> None:
        first, second = ctx.own_masks(self._opening, x.shape, 1)
        ctx.share("both", first & second, self._count)

    def evaluate(self, ctx: Party, opened: Wire, clear_top: Share, x: Share) -> Share:
        mine = clear_top.value ^ opened.own_mask
        theirs = opened.public ^ mine
        both = ctx.share("both", x.shape, self._count)
        flip_mine, flip_theirs = ONE - TWO * mine, ONE - TWO * theirs
        clear = theirs * flip_mine * opened.own_mask + flip_mine * flip_theirs * both
        clear = clear + ctx.public_term(mine * theirs)
        wrapped = ctx.public_term(np.ones(x.shape, dtype=np.uint64)) - clear
        shifted = _moved(ctx, x) >> np.uint64(self._count)
        # one for the carry that the shift of the parts loses, less what made x positive
        offset = ONE - (_quarter(x) >> np.uint64(self._count))
        total = shifted - (wrapped << np.uint64(x.bits - self._count)) + ctx.public_term(offset)
        return self.output(opened, clear_top, x, ring.low(total, x.bits))

    def ideal(self, ctx: Ideal, opened: Wire, clear_top: Share, x: Share) -> Share:
        value = ring.signed(ring.low(x.value, x.bits), x.bits)
        lower = value >> np.int64(self._count)
        round_up = (value >> np.int64(self._count - 1)) & 1
        rounded = ring.low((lower + round_up).view(np.uint64), x.bits)
        return self.output(opened, clear_top, x, rounded)

    def cost(self, ctx: Counting, opened: Wire, clear_top: Share, x: Share) -> None:
        ctx.share(x.shape, self._count)

    def output(self, opened: Wire, clear_top: Share, x: Share, data: U64 | None = None) -> Share:
        return Share(x.shape, x.bits, x.scale - self._count, data)
