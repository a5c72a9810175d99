"""Activations without a round as separable functions, and ReLU.

Within a block of inputs an activation is a polynomial of low degree in the position of the mask, expanded in
Chebyshev polynomials: the dealer's factors are their values, the parties' the coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from privinf.protocols.kernels.interface import MAX_POINT_BITS
from privinf.protocols.masked.gates.compare import AtLeast
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.separable import Factors, Separable
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import F64

Real = Callable[[F64], F64]
EXTRA = 12  # fraction bits of the result beyond the input's
LANE_SCALE = 12  # of a Chebyshev polynomial of degree two or more


_erf: Real = np.vectorize(math.erf, otypes=[np.float64])


def _gelu_tanh(x: F64) -> F64:
    y: F64 = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return y


@dataclass(frozen=True)
class Activation:
    """A function that meets relu(x), or sign(x) where `odd`, outside |x| < window.

    block: log2 of the width of a block in real units; lanes: Chebyshev polynomials kept. `bound` is the largest
    absolute error at 12 fraction bits: of the expansion, of the lanes' rounding, and the drop's unit and a half.
    """

    clear: Real
    window: int
    block: int
    lanes: int
    odd: bool
    bound: float

    @property
    def reach(self) -> int:
        """Blocks on either side of zero in which the function has not yet met its asymptotes."""
        return -(-self.window >> self.block)


ACTIVATIONS = {
    "gelu": Activation(lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))), 4, 2, 8, False, 2.2e-3),
    "gelu_tanh": Activation(_gelu_tanh, 4, 2, 8, False, 2.2e-3),
    "silu": Activation(lambda x: x / (1 + np.exp(-x)), 12, 2, 8, False, 1.1e-3),
    "tanh": Activation(np.tanh, 6, 1, 6, True, 2.2e-3),
}


@cache
def factors(name: str, scale: int) -> Factors:
    """Of an activation, plus one where it is odd, for inputs at `scale`; the result is EXTRA bits finer."""
    activation = ACTIVATIONS[name]
    low, near = activation.block + scale, range(-activation.reach, activation.reach + 1)
    lane_scales = [0, low - 1] + [LANE_SCALE] * (activation.lanes - 2)
    position = np.arange(1 << low, dtype=np.float64) * 2.0 ** (1 - low) - 1.0
    payload = _chebyshev(position, activation.lanes) * np.exp2(lane_scales)
    units = np.exp2([scale + EXTRA - s for s in lane_scales])
    tables = [np.rint(_expansion(activation, j, low, scale) * units) for j in near]
    return Factors(
        np.rint(payload).astype(np.int64),
        np.stack(tables).astype(np.int32),
        near[0],
        _far(activation, scale, low),
        scale + EXTRA,
    )


def _far(activation: Activation, scale: int, low: int) -> tuple[int, int, int]:
    """Beyond the window: x = j*B + L - D, where lane 1 is D - B/2; or the sign plus one."""
    if activation.odd:
        return (0, 2 << (scale + EXTRA), 0)
    return (1 << EXTRA, -(1 << (low - 1 + EXTRA)), -(1 << EXTRA))


def _chebyshev(t: F64, count: int) -> F64:
    """T_0(t) .. T_(count-1)(t) along a new last axis; elementwise, so that every machine gets the same."""
    rows = [np.ones_like(t), t]
    while len(rows) < count:
        rows.append(2.0 * t * rows[-1] - rows[-2])
    return np.stack(rows[:count], axis=-1)


def _expansion(activation: Activation, block: int, low: int, scale: int) -> F64:
    """Chebyshev coefficients (2^low, lanes) of D -> f(block*B + L - D) for every L."""
    nodes = activation.lanes + 8
    start = ((block << low) + np.arange(1 << low, dtype=np.float64)) / 2.0**scale
    width, total = 2.0**activation.block, np.zeros((1 << low, activation.lanes))
    for k in range(nodes):
        node = math.cos((k + 0.5) * math.pi / nodes)
        value = activation.clear(start - (node + 1.0) * width / 2.0) + float(activation.odd)
        total += value[:, None] * _chebyshev(np.array([node]), activation.lanes)
    total *= 2.0 / nodes
    total[:, 0] /= 2.0
    return total


def activate(ctx: Interpreter, x: Wire, name: str, bits: int) -> Share:
    """[f(x)] modulo 2^(bits + EXTRA), EXTRA bits finer than x, without a round; relu adds none, and takes one.

    Domain: |x| and a block below 2^(n-1) units of an n-bit wire (relu: |x| < 2^(n-2)); error: the activation's
    `bound`, once the bits added are dropped.
    """
    if name == "relu":
        return relu(ctx, x, bits)
    scale = int(x.scale)
    share: Share = ctx.run(Separable(factors(name, scale), bits + EXTRA), x)
    if not ACTIVATIONS[name].odd:
        return share
    return ctx.add_public(share, np.uint64((1 << 64) - (1 << (scale + EXTRA))))


def input_bits(name: str, magnitude: float, scale: int) -> int:
    """The narrowest wire for inputs up to `magnitude` at `scale` in `activate`'s domain, or ValueError."""
    if name == "relu":
        return math.ceil(math.log2(max(magnitude, 2.0**-scale))) + scale + 2
    block = 2.0 ** ACTIVATIONS[name].block
    reach = max(magnitude + block, (ACTIVATIONS[name].reach + 1) * block)
    bits = math.ceil(math.log2(reach)) + scale + 1
    if bits - scale - ACTIVATIONS[name].block > MAX_POINT_BITS:
        raise ValueError(f"inputs of {name} up to {magnitude:.0f} leave every table")
    return bits


def relu(ctx: Interpreter, x: Wire, bits: int) -> Share:
    """[max(x, 0)] modulo 2^bits in one round; exact for |x| < 2^(n-2)."""
    (above,) = ctx.run(AtLeast(), x)
    product: Share = ctx.run(Product(bits), ctx.open(above), x)
    return product
