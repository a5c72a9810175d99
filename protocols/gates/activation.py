"""Activations as an asymptote minus a windowed table, one key an element, and ReLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from privinf.protocols import ring
from privinf.protocols.gates.compare import AtLeast
from privinf.protocols.gates.product import Product
from privinf.protocols.gates.table import Table, Window, sample
from privinf.protocols.interpreter import Interpreter, drop_bits
from privinf.protocols.ring import F64, U64
from privinf.protocols.wires import Share, Wire, add, derive, map_share, subtract

Real = Callable[[F64], F64]
BIN_BITS = 8  # table bins of 1/256; the drop before it is unbiased, so tables are not centred


_erf: Real = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(x: F64) -> F64:
    y: F64 = 0.5 * x * (1 + _erf(x / np.sqrt(2)))
    return y


def _gelu_tanh(x: F64) -> F64:
    y: F64 = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return y


def _silu(x: F64) -> F64:
    y: F64 = x / (1 + np.exp(-x))
    return y


@dataclass(frozen=True)
class Activation:
    """A function that meets relu(x), or sign(x) where `odd`, outside |x| < window.

    `bound` is the largest absolute error at 12 fraction bits: one bin times the table's slope, the tail
    cut at the window, and three units in the last place.
    """

    name: str
    clear: Real
    window: int
    odd: bool
    bound: float

    def asymptote(self, x: F64) -> F64:
        """What the function tends to: sign for odd ones, relu otherwise; right-continuous at zero."""
        return np.where(x >= 0, 1.0, -1.0) if self.odd else np.maximum(x, 0.0)


ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("gelu", _gelu, 4, False, 3.2e-3),
        Activation("gelu_tanh", _gelu_tanh, 4, False, 3.2e-3),
        Activation("silu", _silu, 12, False, 3.2e-3),
        Activation("tanh", np.tanh, 6, True, 5.0e-3),
    )
}


@cache
def _table(name: str, scale: int, bins: int) -> Table:
    activation = ACTIVATIONS[name]
    half = activation.window << bins
    points = np.arange(-half, half, dtype=np.float64) / 2.0**bins
    return sample(activation.asymptote(points) - activation.clear(points), -half, scale)


def activate(ctx: Interpreter, x: Wire, name: str, bits: int, bins: int = BIN_BITS) -> Share:
    """[f(x)] modulo 2^bits at x's scale, in one round of narrow openings.

    Domain: |x| < 2^(n-2) units of an n-bit wire whose range covers the window; error: the activation's `bound`.
    """
    if name == "relu":
        return relu(ctx, x, bits)
    scale = int(x.scale)
    index = drop_bits(x, scale - bins)
    entry, sign, above = ctx.run(Window(_table(name, scale, bins), sign=True), index)
    opened_entry, opened_bit = ctx.open(entry), ctx.open(above)
    correction = ctx.run(Product(bits), opened_entry, sign)
    if not ACTIVATIONS[name].odd:
        return subtract(ctx.run(Product(bits), opened_bit, x), correction)
    one = 1 << scale
    bit = ctx.run(Product(bits), opened_bit)
    signs = map_share(Share(bit.shape, bits, scale, bit.data), bit.shape, lambda b: b * np.uint64(2 * one))
    return subtract(ctx.add_public(signs, np.full(signs.shape, (1 << 64) - one, dtype=np.uint64)), correction)


def relu(ctx: Interpreter, x: Wire, bits: int) -> Share:
    """[max(x, 0)] modulo 2^bits in one round; exact for |x| < 2^(n-2)."""
    (above,) = ctx.run(AtLeast(), x)
    product: Share = ctx.run(Product(bits), ctx.open(above), x)
    return product


def maximum(ctx: Interpreter, x: Wire, y: Wire, bits: int) -> Share:
    """[max(x, y)] = [y + relu(x - y)] modulo 2^bits in one round; exact for |x - y| < 2^(n-2) and |y| < 2^(n-2)."""
    width = min(x.bits, y.bits)

    def difference(a: U64, b: U64) -> U64:
        return ring.low(a - b, width)

    distance = derive([x, y], x.shape, width, x.scale, public=difference, mask=difference)
    return add(relu(ctx, distance, bits), ctx.run(Product(bits), y))
