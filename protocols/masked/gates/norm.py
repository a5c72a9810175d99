"""Normalisation of centred rows, x / sqrt(mean(x^2) + eps), in five rounds: the heart of LayerNorm and RMSNorm."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privinf.protocols.masked.gates import power
from privinf.protocols.masked.gates.product import Product, SumSquares
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, narrow

SQUARE_BITS = 62  # comparisons take wires of up to 62 bits


@dataclass(frozen=True)
class NormSpec:
    """How one normalisation is laid out in rings.

    width: row length. bits: ring in which the centred value is opened; drop: low bits cut then, leaving
    `scale` fraction bits. low, high: log2 of the smallest and largest mean square expected, in real units,
    headroom included; outside the inverse deviation saturates. inverse_scale: scale of the inverse
    deviation of integers. out_scale, out_bits: the result's wire. precision: index bits of the table of inverse
    deviations. A row's error is a factor within the relative error of `power` of one, and one unit of
    the result.
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
    precision: int = power.PRECISION

    @property
    def product_bits(self) -> int:
        return self.out_bits + self.inverse_scale - self.out_scale

    def power(self) -> power.Power:
        """1/sqrt(u/width + eps') on the integer sum of squares u."""
        offset = 2 * self.scale + math.log2(self.width)
        return power.Power(
            exponent=-0.5,
            low=max(math.floor(self.low + offset), 1),
            high=math.ceil(self.high + offset),
            scale=self.inverse_scale,
            factor=1.0 / self.width,
            offset=self.eps * self.width * 4.0**self.scale,
            precision=self.precision,
        )


def normalise(ctx: Interpreter, x: Share, spec: NormSpec) -> Wire:
    """The wire of x / sqrt(mean(x^2) + eps) per row, at `out_scale`; |x| < 2^(bits - 2) units of its scale.

    Openings: x, its sum of squares, the chosen segments, the inverse deviation, the result.
    """
    opened = ctx.open(narrow(x, spec.bits), spec.drop)
    squares: Share = ctx.run(SumSquares(64), opened)
    inverse = power.evaluate(ctx, ctx.open(narrow(squares, SQUARE_BITS)), spec.power())
    factor = ctx.open(inverse)
    scaled: Share = ctx.run(Product(64), opened, factor)
    result = Share(scaled.shape, spec.product_bits, spec.inverse_scale, scaled.data)
    return ctx.open(result, spec.inverse_scale - spec.out_scale)
