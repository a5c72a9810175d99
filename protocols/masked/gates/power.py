"""Reciprocal and inverse square root of positive wires by tables: one for a narrow range, segments for a wide one.

A segment covers a few octaves with an index of constant relative precision (the value is normalised by a
power of two); shared bits 1{x >= 2^a} choose among segments. Outside [2^low, 2^high) the result saturates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.gates.compare import AtLeast
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.table import Table, Window
from privinf.protocols.masked.interpreter import Interpreter, drop_bits
from privinf.protocols.masked.wires import Known, Share, Wire, add, reduce, subtract

PRECISION = 9  # index bits at a segment's low end: a relative step of at most 2^-9
OCTAVES = 6


@dataclass(frozen=True)
class Power:
    """2^scale * ((x + offset) * factor)^exponent of an integer x in [2^low, 2^high), saturating outside.

    Relative error: |exponent| * 2^-precision at a segment's low end (the drop's carry), plus half a unit of
    the result.
    """

    exponent: float
    low: int
    high: int
    scale: int
    factor: float = 1.0
    offset: float = 0.0
    precision: int = PRECISION
    octaves: int = OCTAVES

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high <= 60:
            raise ValueError(f"a power needs 0 < low < high <= 60, not {self.low}, {self.high}")

    @property
    def starts(self) -> tuple[int, ...]:
        """Exponents at which segments begin."""
        return tuple(range(self.low, self.high, self.octaves))

    def at(self, x: np.typing.ArrayLike) -> ring.F64:
        """The real values, saturated."""
        clipped = np.clip(np.asarray(x, dtype=np.float64), 2.0**self.low, 2.0**self.high)
        values: ring.F64 = 2.0**self.scale * ((clipped + self.offset) * self.factor) ** self.exponent
        return values


@cache
def _segment(power: Power, start: int) -> tuple[int, int, Table]:
    """Bits to drop, index bits, and the table of the segment that begins at 2^start."""
    dropped = max(start - power.precision, 0)
    top = min(start + power.octaves, power.high) - dropped
    beyond = (1 << top >> 4) + 2  # carries of drops may lead a little past the end, where the value saturates
    points = np.arange((1 << top) + beyond, dtype=np.float64) * 2.0**dropped
    entries = np.rint(power.at(points)).astype(np.int64)
    return dropped, top + 2, Table(entries, 0, power.scale, int(entries.max()).bit_length() + 2)


def table(power: Power, start: int) -> Table:
    """The integers of the segment that begins at 2^start."""
    return _segment(power, start)[2]


def _segment_factors(ctx: Interpreter, x: Wire, power: Power, start: int) -> tuple[Wire, Known]:
    dropped, bits, table = _segment(power, start)
    entry, sign = ctx.run(Window(table), reduce(drop_bits(x, dropped), bits))
    return ctx.open(Share(entry.shape, 64, power.scale, entry.data)), sign


def evaluate(ctx: Interpreter, x: Wire, power: Power) -> Share:
    """[power(x)] modulo 2^64 in one round; x unsigned below 2^(n-1) of its n-bit wire, n >= high + 2."""
    if x.bits < power.high + 2:
        raise ValueError(f"values up to 2^{power.high} need a wire of {power.high + 2} bits, not {x.bits}")
    ends = tuple(1 << start for start in (*power.starts[1:], power.high))
    bits = [ctx.open(b) for b in ctx.run(AtLeast(ends), x)]
    parts = [_segment_factors(ctx, x, power, start) for start in power.starts]
    whole = Product(64)
    result: Share = ctx.run(whole, *parts[0])
    for chosen, before, after in zip(bits, parts, parts[1:], strict=False):
        result = add(result, subtract(ctx.run(whole, chosen, *after), ctx.run(whole, chosen, *before)))
    return add(result, _saturation(ctx, bits[-1], parts[-1], power))


def _saturation(ctx: Interpreter, beyond: Wire, last: tuple[Wire, Known], power: Power) -> Share:
    """The last segment replaced by its end value where x >= 2^high."""
    end = np.uint64(np.rint(power.at(np.array([2.0**power.high])))[0])
    bit: Share = ctx.run(Product(64), beyond)
    constant = Share(bit.shape, 64, power.scale, None if bit.data is None else bit.data * end)
    return subtract(constant, ctx.run(Product(64), beyond, *last))
