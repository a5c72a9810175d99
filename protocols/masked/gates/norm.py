"""Normalisation of centred rows, x / sqrt(mean(x^2) + eps), in four rounds: the heart of LayerNorm and RMSNorm."""

from __future__ import annotations

from dataclasses import dataclass

from privinf.protocols import ring
from privinf.protocols.masked.gates import power
from privinf.protocols.masked.gates.product import Product, SumSquares
from privinf.protocols.masked.gates.watch import watch_lifted
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, narrow

LANES = {lanes.count: lanes for lanes in (power.ROOT, power.FINE_ROOT)}


@dataclass(frozen=True)
class NormSpec:
    """How one normalisation is laid out in rings.

    width: row length. bits: ring in which the centred value is opened; drop: low bits cut then, leaving
    `scale` fraction bits. low, high: log2 of the smallest and largest mean square expected, in real units,
    headroom included; outside the inverse deviation saturates. inverse_scale: scale of the inverse
    deviation of integers. out_scale, out_bits: the result's wire. lanes: polynomials in the inverse deviation,
    three or four. A row's error is a factor within the relative error of `power` of one, with a unit of the inverse
    deviation and what `power` says of units, and 1.5 units of the result.
    """

    width: int
    bits: int
    drop: int
    scale: int
    low: int
    high: int
    eps: float
    inverse_scale: int
    out_scale: int
    out_bits: int
    lanes: int = power.ROOT.count

    @property
    def product_bits(self) -> int:
        return self.out_bits + self.inverse_scale - self.out_scale

    @property
    def square_bits(self) -> int:
        """Ring of a row's sum of squares: it holds all that centred values may add up to."""
        about = self.power()
        most = (self.width << 2 * (self.bits - self.drop - 2)) + about.offset + (1 << about.high)
        return min(most.bit_length(), ring.MAX_BITS)

    def power(self) -> power.Power:
        """1/sqrt(u/width + eps') on the integer sum of squares u."""
        unit = self.width * 4.0**self.scale
        offset = round(self.eps * unit)
        smallest, largest = (int(unit * 2.0**end) + offset for end in (self.low, self.high))
        return power.Power(
            exponent=-0.5,
            low=max(smallest.bit_length() - 1, 2),
            high=(largest - 1).bit_length(),
            scale=self.inverse_scale,
            numerator=self.width,
            offset=offset,
            lanes=LANES[self.lanes],
        )


def normalise(ctx: Interpreter, x: Share, spec: NormSpec, *, bounded: bool = False) -> Wire:
    """The wire of x / sqrt(mean(x^2) + eps) per row, at `out_scale`; |x| < 2^(bits - 2) units of its scale.

    Where ranges are checked x is, unless it is `bounded`: a sum of tables' rows whose ring was planned from these.
    Openings: x, its sum of squares, the inverse deviation, the result.
    """
    opened = ctx.open(narrow(x, spec.bits), spec.drop)
    if not bounded:
        watch_lifted(ctx, opened, ring.MAX_BITS)
    squares: Share = ctx.run(SumSquares(64), opened)
    factor = power.factor(ctx, ctx.open(narrow(squares, spec.square_bits)), spec.power())
    scaled: Share = ctx.run(Product(64), opened, factor)
    result = Share(scaled.shape, spec.product_bits, spec.inverse_scale, scaled.data)
    return ctx.open(result, spec.inverse_scale - spec.out_scale)
