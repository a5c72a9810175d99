"""Adds to a program's combinations whether an opened wire leaves a ring: no round, and nothing is opened."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.ideal import both_parts
from privinf.protocols.masked.watched import SPARE, can_watch
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64

STEPS = 3  # log2 of the places in its ring that are told apart
HIGH_BITS = np.uint16(0xAAAA)  # of lanes of two bits


class Watch(Gate):
    """Combines what the opening of a wire cut off above a ring of `bits` bits; see `watched` for what that flags.

    The wire is as it was opened, and its share had two bits more than the ring, or the ring is that much smaller. Dealt
    are 2^steps lanes of two bits: the wrap of the mask's parts, plus one where the mask lies behind a place.
    """

    name = "watch"

    def __init__(self, bits: int, steps: int = STEPS) -> None:
        self._bits, self._steps = bits, steps

    @property
    def _lanes(self) -> int:
        return 1 << self._steps

    def require(self, ctx: Interpreter, *inputs: Wire) -> None:
        if not can_watch(inputs[0], self._bits):
            raise ValueError(f"this wire's share has no room to check a ring of {self._bits} bits")

    def deal(self, ctx: Dealer, x: Wire) -> None:
        whole = np.uint64(sum(1 << (2 * lane) for lane in range(self._lanes)))
        words = np.concatenate((self._words(), self._words() + whole))
        wraps = ring.low(x.secret, self._bits) < ring.low(x.own_mask, self._bits)
        places = self._place(x).astype(np.uint8)
        places += wraps.view(np.uint8) << np.uint8(self._steps)
        ctx.share("lanes", words.take(places), 2 * self._lanes, minus)

    def _place(self, x: Wire) -> U64:
        """Where in its ring the mask lies."""
        return ring.low(x.secret, self._bits) >> np.uint64(self._bits - self._steps)

    def _words(self) -> U64:
        """By the mask's place: lanes that are one where it lies at theirs or behind it, but for the first."""
        words = [sum(1 << (2 * lane) for lane in range(1, place + 1)) for place in range(self._lanes)]
        return np.array(words, dtype=np.uint64)

    def evaluate(self, ctx: Party, x: Wire) -> None:
        dealt = ctx.share("lanes", x.shape, 2 * self._lanes)
        self._add(ctx, x, x.own_mask, dealt)

    def ideal(self, ctx: Ideal, x: Wire) -> None:
        self._add(ctx, x, both_parts(x), self._words()[self._place(x)])

    def _add(self, ctx: Interpreter, x: Wire, mask: U64, dealt: U64) -> None:
        assert ctx.watched is not None
        ctx.watched.add(ctx.name, x, self._bits, mask, dealt, self._steps, ctx.kernels)
        x.cut = None

    def cost(self, ctx: Counting, x: Wire) -> None:
        ctx.share(x.shape, 2 * self._lanes)

    def output(self, x: Wire) -> None:
        """Nothing comes out."""
        x.cut = None


def minus(a: U64, b: U64) -> U64:
    """The difference of up to eight lanes of two bits, each modulo 4."""
    x, y = a.astype(np.uint16), b.astype(np.uint16)
    differences = ((x | HIGH_BITS) - (y & ~HIGH_BITS)) ^ ((x ^ ~y) & HIGH_BITS)
    whole: U64 = differences.astype(np.uint64)
    return whole


def watch_lifted(ctx: Interpreter, x: Wire, bits: int) -> None:
    """The same of a wire that is about to be lifted to `bits` bits, where the lift does not check it itself.

    Then it has a ring two bits smaller, in the half of its ring in which a lift is right.
    """
    if not (can_watch(x, x.bits) and bits - x.bits >= SPARE):
        watch(ctx, x, x.bits - SPARE)


def watch(ctx: Interpreter, x: Wire, bits: int, steps: int = STEPS) -> None:
    """Check that a wire as it was opened stays in a ring of `bits` bits, where this program's ranges are checked."""
    if ctx.watched is not None:
        ctx.run_later(Watch(bits, steps), x)
