"""Softmax weights 2^(S - max) as a wire, and the inverse of their sum."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.gates import exp2, power
from privinf.protocols.masked.gates.histogram import distance_below_max
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Wire, map_wire, reduce

PRECISION = 12  # fraction bits of a row's largest weight, at worst
INVERSE_BITS = 9  # significant bits of 1/sum at its smallest
INVERSE_PRECISION, INVERSE_OCTAVES = 8, 4  # a relative step of 2^-8, tables of 2^12 entries


def slack(fine: int) -> int:
    """Binary orders by which a row's largest weight may lie below one: two buckets of 2^fine score units."""
    return 2 << fine


def weight_scale(fine: int) -> int:
    """Fraction bits of the weights."""
    return PRECISION + slack(fine)


def weights(ctx: Interpreter, scores: Wire, coarse: int, fine: int, bits: int) -> Wire:
    """Unnormalised weights 2^(S - M) at `weight_scale(fine)` modulo 2^bits, M within two buckets above the largest.

    `coarse` and `fine` are log2 of the buckets of the first and the second pass, in score units; equal ones do
    without the second pass: three rounds, or five. Domain: scores at an integer scale, |S| + 2^coarse below
    2^(n-1) units and the row's spread plus two coarse buckets and a block of exp2 below 2^n.
    Error: that of exp2.exponential.
    """
    scale = int(scores.scale)
    distance = distance_below_max(ctx, scores, scale + coarse, scale + fine)
    weight = exp2.exponential(ctx, distance, weight_scale(fine), bits + exp2.DROPPED)
    return ctx.open(weight, exp2.DROPPED)


def row_sum(x: Wire) -> Wire:
    """The wire of the sum along the last axis, kept; local."""
    shape = (*x.shape[:-1], 1)
    return map_wire(x, shape, lambda v: ring.low(v.sum(axis=-1, keepdims=True, dtype=np.uint64), x.bits))


def inverse_power(row: int, fine: int, precision: int = INVERSE_PRECISION) -> power.Power:
    """1/sum for rows of `row` weights: sums lie between two buckets below one and `row`."""
    scale = weight_scale(fine)
    octaves = max(row - 1, 1).bit_length()
    return power.Power(
        exponent=-1.0,
        low=PRECISION,
        high=scale + octaves,
        scale=INVERSE_BITS + octaves,
        factor=2.0**-scale,
        precision=precision,
        octaves=INVERSE_OCTAVES,
    )


def inverse_sum(ctx: Interpreter, weight: Wire, fine: int, precision: int = INVERSE_PRECISION) -> Wire:
    """1/sum of each row of weights as a wire modulo 2^64; two rounds."""
    inverse = inverse_power(weight.shape[-1], fine, precision)
    total = row_sum(weight)
    return ctx.open(power.evaluate(ctx, reduce(total, min(inverse.high + 2, total.bits)), inverse))
