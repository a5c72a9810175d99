"""Reciprocals and inverse square roots of positive wires, without a round: one incremental point function each.

Source: Boneh, Boyle, Corrigan-Gibbs, Gilboa and Ishai, "Lightweight techniques for private heavy hitters" (2021), for
point functions with a payload at inner nodes.

A wire S = X - D is cut into blocks of 2^s, for s = low - 2, ..., high - 3. With d = (X >> s) - (D >> s), and l and t in
[0, 1) the places of X and D in their blocks, S = (d + l - t) 2^s. For a known d, a power of S is a polynomial in t with
coefficients that follow from the opened X; the payload at level s, node D >> s, is Chebyshev polynomials T_r(2 t - 1).
Parties multiply their shares of the nodes at d = 0, ..., 8, which X alone tells.

*Each S counts once*, on the level where d >= 4 and its parent's d' < 4; on the highest one d <= 8 counts too. For d' is
at most (d + 1) / 2: below 4 on one level it is so on all above, and there is one such level unless d < 4 on the lowest,
or d > 8 on the highest. As d is less than one away from S / 2^s, neither is so where 2^low <= S < 2^high; below 3/4 of
2^low and from 9/8 of 2^high on one of them is, and an end's power comes from the first polynomial, which is one.

*Error.* Let lambda = -exponent, a = 2 (d + l) - 1 >= 7, q = a - sqrt(a^2 - 1) <= 0.0718 and y = 2 t - 1: S is
(1 - 2 q y + q^2) / (4 q) blocks, so that a Chebyshev coefficient is at most alpha_r q^r ((1 + q) / (1 - q))^lambda of
the power itself, with alpha_r from SERIES. What is added up in `relative` and `units`: the coefficients that have no
lane; half a unit of each payload, times its coefficient; half a unit of each coefficient, times its payload, which is
at most 2^f for a lane of f fraction bits; less than 2^-20 for the series and for places cut to 32 bits. A dropped
result is off by up to a unit more, and by nothing in the mean.

*Secrecy.* Nothing is opened but X, under D. Off D's own nodes both parties' seeds are equal; there, a payload's word is
masked by a block of the other party's seed under keys of its own, and children's seeds come from other keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.protocols import ring
from privinf.protocols.kernels import powers
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.gates.watch import watch
from privinf.protocols.masked.interpreter import drop_bits
from privinf.protocols.masked.wires import Share, Wire, narrow
from privinf.protocols.ring import U64

HALVES = {-1.0: 2, -0.5: 1}  # by the exponent
POWER_BITS = 62  # of a power as it is opened: without the mark of one that saturates
MOST_BITS = 48  # of a result: it is rounded as a double
LARGEST_Q = 7 - 48**0.5  # at the least block difference that is served
SERIES_ERROR = 2.0**-20  # of coefficients and places, relative


@dataclass(frozen=True)
class Lanes:
    """How finely a power is put together.

    count: polynomials, of which the first is one and the next has `fine` fraction bits, the others `step` less each.
    extra: bits by which the result is finer than its scale, and which are dropped once it is opened.
    """

    count: int
    fine: int
    step: int
    extra: int

    @property
    def fractions(self) -> tuple[int, ...]:
        """Fraction bits of each."""
        return tuple(powers.fraction(lane, self.fine, self.step) for lane in range(self.count))


INVERSE = Lanes(4, 9, 3, 10)  # 2^-11.3 relative for 1/S
ROOT = Lanes(3, 8, 4, 10)  # 2^-10.7 for 1/sqrt(S)
FINE_ROOT = Lanes(4, 10, 3, 12)  # 2^-13.6 for 1/sqrt(S)


@dataclass(frozen=True)
class Power:
    """2^scale * ((x + offset) / numerator)^exponent of an integer x, for 2^low <= x + offset < 2^high.

    Below 3/4 of 2^low and above 9/8 of 2^high it is that of the range's end; between, that or the power itself.
    """

    exponent: float
    low: int
    high: int
    scale: int
    numerator: int = 1
    offset: int = 0
    lanes: Lanes = ROOT

    def __post_init__(self) -> None:
        if self.exponent not in HALVES:
            raise ValueError(f"a power has exponent -1 or -1/2, not {self.exponent}")
        if not 2 <= self.low < self.high <= 63:
            raise ValueError(f"a power needs 2 <= low < high <= 63, not {self.low}, {self.high}")
        if not (1 <= self.numerator <= 1 << 52 and self.offset >= 0):
            raise ValueError("a power's numerator must be positive, and its offset not negative")
        if not 0 <= self.finest <= 62 or self._largest_squared > 1 << 2 * MOST_BITS + self.halves * self.low:
            raise ValueError(f"a power's largest result must have 1 to {MOST_BITS} bits")

    @property
    def _largest_squared(self) -> int:
        """Of the result at one, in its finest units."""
        return (self.numerator * self.numerator if self.halves == 2 else self.numerator) << 2 * self.finest

    @property
    def halves(self) -> int:
        return HALVES[self.exponent]

    @property
    def finest(self) -> int:
        """Fraction bits of the result before bits are dropped."""
        return self.scale + self.lanes.extra

    @property
    def relative(self) -> float:
        """Bound on the error relative to the result, in the range."""
        terms = powers.SERIES[self.halves]
        parts = [terms[r][0] * LARGEST_Q**r for r in range(self.lanes.count)]
        payload = [part * 2.0 ** -(f + 1) for part, f in zip(parts, self.lanes.fractions, strict=True)]
        missing = parts[-1] * LARGEST_Q / (1 - LARGEST_Q)
        spread = (1 + LARGEST_Q) / (1 - LARGEST_Q)
        return (missing + sum(payload[1:])) * math.sqrt(spread**self.halves) + SERIES_ERROR

    @property
    def units(self) -> float:
        """Bound on the error in units of `scale` that comes on top, before bits are dropped."""
        return sum(2.0 ** (f - 1 - self.lanes.extra) for f in self.lanes.fractions)

    def at(self, x: npt.ArrayLike) -> ring.F64:
        """The real values, saturated."""
        clipped = np.clip(np.asarray(x, dtype=np.float64) + self.offset, 2.0**self.low, 2.0**self.high)
        values: ring.F64 = 2.0**self.scale * (clipped / self.numerator) ** self.exponent
        return values


class Powers(Gate):
    """[power(x)] modulo 2^62, and 2^62 where it saturates, finer by the lanes' extra bits.

    x + offset is at most 2^n - 2^(high - 3) of the wire.
    """

    name = "powers"

    def __init__(self, power: Power) -> None:
        self._power = power

    def _form(self, x: Wire) -> powers.Form:
        power, lanes = self._power, self._power.lanes
        if x.bits <= power.high:
            raise ValueError(
                f"values up to 2^{power.high} need a wire of {power.high + 1} bits, not {x.bits}"
            )
        return powers.Form(x.bits, power.low, power.high, lanes.count, lanes.fine, lanes.step)

    def _curve(self) -> powers.Curve:
        return powers.Curve(self._power.halves, self._power.numerator, self._power.finest)

    def _index(self, x: Wire) -> U64:
        return np.ascontiguousarray(x.public + np.uint64(self._power.offset)).reshape(-1)

    def deal(self, ctx: Dealer, x: Wire) -> None:
        mask = np.ascontiguousarray(x.secret).reshape(-1)
        ctx.common(*ctx.kernels.powers_gen(ctx.tree(), mask, *self._form(x), *ctx.roots(mask.size)))

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        form, size = self._form(x), ring.size_of(x.shape)
        key = ctx.keys((form.depth, size, 16)), ctx.common((len(form.levels), size, form.lanes), np.uint64)
        value = ctx.kernels.powers_eval(*key[0], key[1], *form, *self._curve(), self._index(x))
        return self.output(x, value.reshape(x.shape))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        form, curve, index = self._form(x), self._curve(), self._index(x)
        mask = x.secret.reshape(-1)
        total = np.full(mask.shape, curve.of_power(form.high), dtype=np.uint64)
        for level in form.levels:
            shift = np.uint64(level)
            distance = ring.low((index >> shift) - (mask >> shift), form.bits - level).astype(np.int64)
            rows = powers.factors(form, curve, level, distance, index)
            total += (rows * powers.payload(form, powers.places(mask, level))).sum(axis=-1, dtype=np.uint64)
        return self.output(x, total.reshape(x.shape))

    def cost(self, ctx: Counting, x: Wire) -> None:
        form, size = self._form(x), ring.size_of(x.shape)
        ctx.common(form.depth, size, 16)
        ctx.common(len(form.levels), size, form.lanes * 8)

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return Share(x.shape, ring.MAX_BITS, self._power.finest, data)


def factor(ctx: Interpreter, x: Wire, power: Power) -> Wire:
    """The wire of power(x) at its scale modulo 2^(62 - extra); one value a row, so its drop is dealt.

    Where ranges are checked, whether it saturates is a part of that.
    """
    opened = ctx.open(narrow(ctx.run(Powers(power), x), POWER_BITS))
    watch(ctx, opened, POWER_BITS)
    return drop_bits(opened, power.lanes.extra)
