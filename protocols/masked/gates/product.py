"""Elementwise products of wires, lifted wires, masked bits and dealer-known signs in Z_2^bits: no round.

A factor is a sum of public coefficients times dealer-known monomials:
  wire in the ring          x = xh*1 - 1*d
  lifted wire mod 2^n       x = A*1 - 1*d + (2^n c)*m      with A, c from xh and m the top bit of d,
                            so that what is multiplied by m is needed modulo 2^(bits - n) alone
  masked bit                x = xh*1 + (1 - 2 xh)*d
  dealer-known              x = 1*u
so a product needs a share of each product of monomials.
Domain of a lifted wire: |x| < 2^(n-2); outside it is off by 2^n for some masks and not for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product as cartesian
from typing import Any

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.gates.linear import value
from privinf.protocols.masked.wires import Known, Share, Wire
from privinf.protocols.ring import U64, Shape

Factor = Wire | Known


def lifted_terms(public: U64, bits: int) -> tuple[U64, U64]:
    """A and 2^n*c of a wire modulo 2^n: x = A - d + 2^n*c*msb(d) exactly for |x| < 2^(n-2)."""
    quarter = np.uint64(1 << (bits - 2))
    moved = ring.low(public + quarter, bits)
    carry = np.uint64(1) - (moved >> np.uint64(bits - 1))
    return moved - quarter, carry << np.uint64(bits)


def lifted_value(wire: Wire) -> U64:
    """What lifting gives: the value in the domain, and beyond it the same wrong value as the shares add up to."""
    start, carry = lifted_terms(wire.public, wire.bits)
    top = wire.secret >> np.uint64(wire.bits - 1)
    return start - wire.secret + carry * top


def kind(factor: Factor, bits: int) -> str:
    """How a factor enters a product modulo 2^bits."""
    if isinstance(factor, Known):
        return "known"
    if factor.bits == 1:
        return "bit"
    return "wire" if factor.bits >= bits else "lifted"


class Product(Gate):
    """[x1 * x2 * ...] modulo 2^bits, with NumPy broadcasting; scales add. One factor alone is taken to that ring."""

    name = "product"

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def require(self, ctx: Interpreter, *inputs: Any) -> None:
        for factor in inputs:
            how = kind(factor, self._bits)
            if how == "wire":
                ctx.mask_share(factor)
            elif how == "lifted":
                ctx.lift_share(factor, self._bits)

    def output(self, *factors: Factor, data: U64 | None = None) -> Share:
        shape, scale = _shape(factors), sum(f.scale for f in factors if isinstance(f, Wire))
        return Share(shape, self._bits, scale, None if data is None else np.broadcast_to(data, shape))

    def _combinations(self, factors: tuple[Factor, ...]) -> Iterator[tuple[tuple[int, ...], int]]:
        """Which monomial of each factor is taken (0: one, 1: the mask, 2: its top bit), and the bits that matter of it.

        The coefficient of a top bit is a multiple of 2^n: what comes after the ring's last bit vanishes.
        """
        choices = {"known": (1,), "bit": (0, 1), "wire": (0, 1), "lifted": (0, 1, 2)}
        for picks in cartesian(*(choices[kind(f, self._bits)] for f in factors)):
            tops = [f for f, pick in zip(factors, picks, strict=True) if pick == 2]
            bits = self._bits - sum(f.bits for f in tops if isinstance(f, Wire))
            if bits > 0:
                yield picks, bits

    def _dealt(self, factors: tuple[Factor, ...], picks: tuple[int, ...]) -> Shape | None:
        """The shape of this product of monomials where the dealer must share it."""
        involved = [f for f, pick in zip(factors, picks, strict=True) if pick]
        if len(involved) > 1 or any(kind(f, self._bits) in ("bit", "known") for f in involved):
            return _shape(involved)
        return None

    def deal(self, ctx: Dealer, *factors: Factor) -> None:
        for picks, bits in self._combinations(factors):
            if self._dealt(factors, picks) is not None:
                ctx.share(f"m{picks}", _monomial(factors, picks), bits)

    def evaluate(self, ctx: Party, *factors: Factor) -> Share:
        coefficients = [self._coefficients(f) for f in factors]
        total: U64 | np.uint64 = np.uint64(0)
        for picks, bits in self._combinations(factors):
            public = _multiply([c[pick] for c, pick in zip(coefficients, picks, strict=True)])
            if any(picks):
                public = public * self._monomial(ctx, factors, picks, bits)
            total = total + (public if any(picks) else ctx.public_term(public))
        return self.output(*factors, data=np.asarray(total))

    def _monomial(self, ctx: Party, factors: tuple[Factor, ...], picks: tuple[int, ...], bits: int) -> U64:
        """This party's share of a product of masks and top bits."""
        shape = self._dealt(factors, picks)
        if shape is not None:
            return ctx.share(f"m{picks}", shape, bits)
        wire, pick = next((f, p) for f, p in zip(factors, picks, strict=True) if p)
        assert isinstance(wire, Wire)
        return wire.own_mask if kind(wire, self._bits) == "wire" else wire.lifts[self._bits][pick - 1]

    def _coefficients(self, factor: Factor) -> dict[int, U64]:
        if isinstance(factor, Known):
            return {1: np.ones(1, dtype=np.uint64)}
        opened, one = factor.public, np.ones(1, dtype=np.uint64)
        how = kind(factor, self._bits)
        if how == "bit":
            return {0: opened, 1: np.uint64(1) - np.uint64(2) * opened}
        if how == "wire":
            return {0: opened, 1: -one}
        start, carry = lifted_terms(opened, factor.bits)
        return {0: start, 1: -one, 2: carry}

    def ideal(self, ctx: Ideal, *factors: Factor) -> Share:
        return self.output(*factors, data=_multiply([_ideal_value(f, self._bits) for f in factors]))

    def cost(self, ctx: Counting, *factors: Factor) -> None:
        for picks, bits in self._combinations(factors):
            shape = self._dealt(factors, picks)
            if shape is not None:
                ctx.share(shape, bits)


class SumSquares(Gate):
    """[sum of x^2 along the last axis, kept] modulo 2^bits of a wire of at most bits - 2 (lifted).

    With d the mask and m its top bit, 2^n c (2A - 2d + 2^n c) m has d m times 2^(n+1): bits - n - 1 of it matter.
    """

    name = "sum_squares"

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def require(self, ctx: Interpreter, *inputs: Any) -> None:
        if inputs[0].bits > self._bits - 2:
            raise ValueError(f"a square modulo 2^{self._bits} takes at most {self._bits - 2} bits")
        ctx.lift_share(inputs[0], self._bits)

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return Share((*x.shape[:-1], 1), self._bits, 2 * x.scale, data)

    def deal(self, ctx: Dealer, x: Wire) -> None:
        top = x.secret >> np.uint64(x.bits - 1)
        ctx.share("square", _row_sum(x.secret * x.secret), self._bits)
        ctx.share("cross", x.secret * top, self._bits - x.bits - 1)

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        start, carry = lifted_terms(x.public, x.bits)
        mask, top = x.lifts[self._bits]
        square = ctx.share("square", (*x.shape[:-1], 1), self._bits)
        cross = ctx.share("cross", x.shape, self._bits - x.bits - 1)
        half = start * mask + carry * cross
        rows = carry * (start + start + carry) * top - half - half + ctx.public_term(start * start)
        return self.output(x, _row_sum(rows) + square)

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        v = lifted_value(x)
        return self.output(x, _row_sum(v * v))

    def cost(self, ctx: Counting, x: Wire) -> None:
        out = self.output(x)
        ctx.share(out.shape, self._bits)
        ctx.share(x.shape, self._bits - x.bits - 1)


def _shape(factors: Sequence[Factor]) -> Shape:
    return np.broadcast_shapes(*(f.shape for f in factors))


def _row_sum(x: U64) -> U64:
    total: U64 = x.sum(axis=-1, keepdims=True, dtype=np.uint64)
    return total


def _multiply(factors: list[U64]) -> U64:
    out = factors[0]
    for factor in factors[1:]:
        out = out * factor
    return out


def _monomial(factors: tuple[Factor, ...], picks: tuple[int, ...]) -> U64:
    parts = []
    for factor, pick in zip(factors, picks, strict=True):
        if pick == 1:
            parts.append(factor.secret)
        elif pick == 2:
            assert isinstance(factor, Wire)
            parts.append(factor.secret >> np.uint64(factor.bits - 1))
    return _multiply(parts)


def _ideal_value(factor: Factor, bits: int) -> U64:
    if isinstance(factor, Known):
        return factor.secret
    if factor.bits == 1:
        return factor.public ^ factor.secret
    return lifted_value(factor) if kind(factor, bits) == "lifted" else value(factor)
