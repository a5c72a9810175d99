"""Softmax in base two with late normalisation: weights 2^(S - max) as a wire, and the inverse of their sum."""

from __future__ import annotations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.gates import power
from privinf.protocols.gates.exp2 import RESULT_SCALE, Exp2
from privinf.protocols.gates.histogram import MaxSpec, distance_below_max
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.ring import U64
from privinf.protocols.wires import Known, Wire, derive

WEIGHT_SCALE = 12
WEIGHT_BITS = 64 - RESULT_SCALE + WEIGHT_SCALE
MIN_SUM = 2  # the largest weight is above 2^-2: at most two buckets of one below the shifted maximum
INVERSE_BITS = 10  # significant bits of 1/sum at its smallest


def weights(ctx: Interpreter, scores: Wire, coarse: int = 0) -> Wire:
    """Unnormalised weights 2^(S - M) at scale 12 modulo 2^40, M within two above the row's maximum.

    `coarse` is log2 of the first pass's buckets, in score units; three rounds, five where it is above zero.
    Domain: scores at an integer scale, |S| + 2^coarse below 2^(bits-1) units and the row's spread plus
    2^(coarse+1) below 2^bits. A weight under 2^-16 of 2^M is zero; any other is
    within 2^-11 absolutely and `exp2.RELATIVE_ERROR` relatively, and those under 2^-12 come out low.
    """
    scale = int(scores.scale)
    distance = distance_below_max(ctx, scores, MaxSpec(scale + coarse, scale))
    return ctx.open(ctx.run(Exp2(), distance), RESULT_SCALE - WEIGHT_SCALE)


def row_sum(x: Wire) -> Wire:
    """The wire of the sum along the last axis, kept; local."""

    def total(v: U64) -> U64:
        return ring.low(v.sum(axis=-1, keepdims=True, dtype=np.uint64), x.bits)

    return derive([x], (*x.shape[:-1], 1), x.bits, x.scale, public=total, mask=total, linear=x.shared)


def inverse_power(row: int) -> power.Power:
    """1/sum for rows of `row` weights at WEIGHT_SCALE: sums lie in (2^-2, row]."""
    high = WEIGHT_SCALE + max(row - 1, 1).bit_length()
    low = WEIGHT_SCALE - MIN_SUM
    scale = INVERSE_BITS + high - WEIGHT_SCALE
    return power.Power(
        exponent=-1.0,
        low=low,
        high=high,
        scale=scale,
        factor=2.0**-WEIGHT_SCALE,
        precision=low - 2,
        octaves=high - low,
    )


def inverse_sum(ctx: Interpreter, weight: Wire) -> tuple[Wire, Known]:
    """1/sum of each row of weights, as an opened wire and a dealer-known sign to be multiplied; one round."""
    return power.factors(ctx, row_sum(weight), inverse_power(weight.shape[-1]))
