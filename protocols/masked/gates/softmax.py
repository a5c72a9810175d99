"""Softmax weights 2^(S - max) as a wire, and the inverse of their sum."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.gates import exp2, power
from privinf.protocols.masked.gates.histogram import distance_below_max
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Wire, map_wire, reduce

PRECISION = 12  # fraction bits of a row's largest weight, at worst
INVERSE_BITS = 10  # significant bits of 1/sum at its smallest


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


def inverse_power(row: int, fine: int, digits: int = INVERSE_BITS) -> power.Power:
    """1/sum, of `digits` bits at its smallest, for rows of `row` weights: from two buckets below one up to `row`."""
    scale = weight_scale(fine)
    octaves = max(row - 1, 1).bit_length()
    return power.Power(
        exponent=-1.0,
        low=PRECISION,
        high=scale + octaves,
        scale=digits + octaves,
        numerator=1 << scale,
        lanes=power.INVERSE,
    )


def inverse_sum(ctx: Interpreter, weight: Wire, fine: int, digits: int = INVERSE_BITS) -> Wire:
    """1/sum of each row of weights as a wire of 52 bits; one round."""
    inverse = inverse_power(weight.shape[-1], fine, digits)
    return power.factor(ctx, reduce(row_sum(weight), inverse.high + 1), inverse)
