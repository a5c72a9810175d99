"""Cases of the composite gates: maxima, softmax, powers, normalisation and activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st

from privinf.protocols.masked.gates import exp2, softmax
from privinf.protocols.masked.gates.activation import ACTIVATIONS, activate
from privinf.protocols.masked.gates.argmax import argmax
from privinf.protocols.masked.gates.histogram import ROUND, distance_below_max
from privinf.protocols.masked.gates.norm import NormSpec, normalise
from privinf.protocols.masked.gates.power import POWER_BITS, Power, Powers, factor
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, map_share, narrow
from privinf.protocols.testing.trials import (
    Draw,
    Exactly,
    Trial,
    Within,
    held,
    integers,
    row_shape,
    shape,
    share,
    signed,
    width,
)


def _below_max(draw: Draw, coarse: int, fine: int, bits: int, most: int) -> Trial:
    """The whole domain; the result is unsigned, so that half of its ring is taken off before it is compared.

    Zeros are counted by lanes, or by bits.
    """
    worth = draw(st.sampled_from((ROUND, -1)))
    bucket, one, half = 1 << coarse, 1 << fine, 1 << (bits - 1)
    end = half - bucket - 1
    x = integers(draw, row_shape(draw, most), -end, end, [bucket - 1, bucket, bucket + 1, one - 1, one])

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        y = held(ctx, distance_below_max(ctx, ctx.open(a), coarse, fine, worth))
        moved = ctx.add_public(y, np.full(y.shape, half, dtype=np.uint64))
        return [moved, map_share(y, y.shape, lambda v: v - v[..., :1])]

    wanted = (
        Within((x.max(-1, keepdims=True) - x + one - half).astype(np.float64), one),
        Exactly(x[..., :1] - x),
    )
    return Trial(program, (share(x, bits),), wanted)


def below_max(draw: Draw) -> Trial:
    """One pass: at most 2^10 buckets, rows on both sides of 8-bit lanes."""
    coarse = draw(st.integers(1, 10))
    bits = coarse + width(draw, 4, 9)
    return _below_max(draw, coarse, coarse, bits, draw(st.sampled_from((1, 9, 270))))


def below_max_twice(draw: Draw) -> Trial:
    fine = draw(st.integers(1, 10))
    coarse = fine + draw(st.integers(1, 5))
    return _below_max(draw, coarse, fine, coarse + width(draw, 4, 8), 9)


def attention(draw: Draw) -> Trial:
    """Softmax in base two, normalised at the end, in one pass or two; flat rows have the largest sums."""
    fine, scale = draw(st.integers(0, 2)), 10
    coarse = fine + draw(st.integers(0, 3))
    bits = scale + coarse + draw(st.sampled_from((6, 7)))
    rows = (*shape(draw, most=2, rank=2), draw(st.sampled_from((1, 2, 7, 64))))
    room = max(exp2.BLOCK << scale, 2 << (scale + coarse))
    end = (1 << (bits - 1)) - room - 1
    scores = integers(draw, rows, draw(st.sampled_from((-end, end - (3 << scale), end))), end)
    outer = 64 - exp2.DROPPED

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        weight = softmax.weights(ctx, ctx.open(a), coarse, fine, outer)
        return [ctx.run(Product(64), weight, softmax.inverse_sum(ctx, weight, fine))]

    real = 2.0 ** ((scores - scores.max(-1, keepdims=True)) / 2.0**scale)
    real = real / real.sum(-1, keepdims=True)
    inverse = relative_error(softmax.inverse_power(rows[-1], fine))
    unit = exp2.UNITS_ERROR * 2.0**-softmax.PRECISION  # of one weight, relative to the row's largest
    bound = unit * (1 + real * rows[-1]) * 1.05 + real * (exp2.RELATIVE_ERROR * 2 + inverse) * 1.01
    return Trial(program, (share(scores, bits, scale),), (Within(real, bound),))


def relative_error(power: Power) -> float:
    """Of a dropped result: that of the polynomials, and of the smallest result's units, one of them from the drop."""
    smallest = float(power.at(2.0**power.high))
    return power.relative + (power.units + 1) / smallest


def power(power: Power, bits: int) -> Callable[[Draw], Trial]:
    """The whole domain, of the result as it is shared and as it is opened; between the range and what is constant, the
    mask decides."""
    marks = [1 << a for a in range(power.low - 2, power.high + 1)]
    marks += [3 << (power.low - 2), 9 << (power.high - 3)]
    edges = [mark - power.offset + step for mark in marks for step in (-1, 0, 1)]

    def case(draw: Draw) -> Trial:
        top = min((1 << bits) - (1 << (power.high - 3)), (1 << 63) - 1) - power.offset
        x = integers(draw, shape(draw, most=4), 0, top, edges * 2)

        def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
            wire = ctx.open(a)
            return [narrow(ctx.run(Powers(power), wire), POWER_BITS), held(ctx, factor(ctx, wire, power))]

        real, whole = power.at(x) / 2.0**power.scale, x.astype(np.float64) + power.offset
        below = (whole >= 3 * 2.0 ** (power.low - 2)) & (whole < 2.0**power.low)
        above = (whole >= 2.0**power.high) & (whole < 9 * 2.0 ** (power.high - 3))
        free = np.where(below, 0.34, np.where(above, 0.125, 0.0)) * real * -power.exponent * 1.1
        unit = 2.0**-power.scale
        bound = real * power.relative + unit * power.units + free
        return Trial(program, (share(x, bits),), (Within(real, bound), Within(real, bound + unit)))

    return case


def normal(draw: Draw) -> Trial:
    """Rows of every size from the smallest deviation planned for to the largest."""
    size, cut = draw(st.integers(2, 12)), draw(st.sampled_from((0, 3)))
    spec = NormSpec(size, 40, cut, 14, -6, 10, 1e-5, 34, 12, 40)
    rows = (*shape(draw, rank=2), size)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    deviation = 2.0 ** rng.uniform(spec.low / 2 + 0.5, spec.high / 2 - 1, (*rows[:-1], 1))
    x = rng.standard_normal(rows)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True)) * deviation
    units = np.rint(x * 2.0 ** (14 + cut)).astype(np.int64)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, normalise(ctx, a, spec))]

    root = np.sqrt(((units * 2.0 ** -(14 + cut)) ** 2).mean(-1, keepdims=True) + spec.eps)
    real = units * 2.0 ** -(14 + cut) / root
    moved = (
        (1.5 * 2.0**-14 if cut else 0.0) / root * (1 + np.abs(real) * np.abs(real).mean(-1, keepdims=True))
    )
    bound = np.abs(real) * (relative_error(spec.power()) + 1e-9) + 1.5 * 2.0**-12 + moved * 1.1
    return Trial(program, (share(units, 64, 14 + cut),), (Within(real, bound),))


def activation(name: str) -> Callable[[Draw], Trial]:
    about = ACTIVATIONS[name]

    def case(draw: Draw) -> Trial:
        bits, outer = width(draw, 18, 26), width(draw, 32, 52)
        end = about.window << 12
        edges = [s * end + step for s in (-1, 1) for step in (-17, -16, -15, -1, 0, 1)]
        x = signed(draw, shape(draw, most=5), bits, 2, edges * 2)
        near = integers(draw, x.shape, -end, end)
        x = np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, near, x)

        def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
            return [activate(ctx, ctx.open(a), name, outer)]

        real = about.clear(np.clip(x / 4096.0, -700, None))
        return Trial(program, (share(x, bits, 12),), (Within(real, about.bound),))

    return case


def relu(draw: Draw) -> Trial:
    bits, outer = width(draw, 3, 62), width(draw, 2, 64)
    x = signed(draw, shape(draw), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [activate(ctx, ctx.open(a), "relu", outer)]

    return Trial(program, (share(x, bits, 12),), (Exactly(np.maximum(x, 0)),))


def place(draw: Draw) -> Trial:
    """The whole domain, wherever in the ring; half of the entries are extremes, so that many are equal."""
    bits = width(draw, 3, 62)
    x = signed(draw, row_shape(draw), bits, 2)
    start = integers(draw, (*x.shape[:-1], 1), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, ctx.open(argmax(ctx, ctx.open(a))))]

    wanted = Exactly(x.argmax(-1, keepdims=True))
    return Trial(program, (share(x + start, bits, 4),), (wanted,))


def place_of_dropped(draw: Draw) -> Trial:
    """A wire whose mask nobody holds a share of; entries lie apart, as the drop moves them by up to a unit."""
    rows, rng = row_shape(draw), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.permuted(np.broadcast_to(np.arange(rows[-1]) - 4, rows), axis=-1).astype(np.int64) << 7

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, ctx.open(argmax(ctx, ctx.open(a, 5))))]

    return Trial(program, (share(x, 20, 9),), (Exactly(x.argmax(-1, keepdims=True)),))
