"""2^-y of a wire 0 <= y without a round: the factors of `separable` for exponentials.

With y = 16*j + L - D in units, L = 8*g + l and D = 8*e + d, the exponential is 2^(-16*j - 8*g + 8*e - l) * 2^d: a
factor that the parties know times one that the dealer knows, in a lane of its own for each e. A block of 16 units
in two lanes keeps keys short, and the dealer's factor below 2^8, so that everything fits a ring of 64 bits.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from privinf.protocols.masked.gates.separable import NOTHING, Factors, Separable
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire

BLOCK, HALF = 16, 8  # units of y
PAYLOAD_SCALE = 9
SPARE = 6  # fraction bits of the public factor beyond the result's
DROPPED = SPARE + PAYLOAD_SCALE  # fraction bits of the share beyond the result's
RELATIVE_ERROR = 2.0 ** -(PAYLOAD_SCALE + 1)  # rounding of the dealer's factor
# Rounding of the public factor, two units at most, and the drop's one and a half: of the result's scale
UNITS_ERROR = 3.5


def blocks(scale: int) -> int:
    """How many blocks hold results that do not vanish at `scale`: at 16 times as many units all are zero."""
    return (scale - 1) // BLOCK + 2


@cache
def factors(input_scale: int, scale: int) -> Factors:
    """Of 2^-y for y at `input_scale`, precise enough for results at `scale`."""
    place = np.arange(BLOCK << input_scale, dtype=np.int64)
    half, rest = place >> (input_scale + 3), (place % (HALF << input_scale)) / 2.0**input_scale
    payload = np.zeros((place.size, 2), dtype=np.int64)
    payload[place, half] = np.rint(2.0 ** (PAYLOAD_SCALE + rest))
    near = np.zeros((blocks(scale), place.size, 2), dtype=np.int32)
    for j in range(len(near)):
        for lane in (0, 1):
            shift = HALF * (lane - half) - BLOCK * j
            power = np.where(shift > 0, 0.0, 2.0 ** (scale + SPARE + np.minimum(shift, 0) - rest))
            near[j, :, lane] = np.rint(power)
    return Factors(payload, near, 0, NOTHING, scale + DROPPED)


def exponential(ctx: Interpreter, y: Wire, scale: int, bits: int) -> Share:
    """[2^-y] modulo 2^bits, `DROPPED` bits finer than `scale`; y unsigned modulo 2^n at an integer scale.

    Domain: y + 16 units below 2^n. Once dropped to `scale` a result is within UNITS_ERROR units and a factor
    RELATIVE_ERROR of the truth, and zero from 16 * blocks(scale) units on.
    """
    if int(y.scale) != y.scale:
        raise ValueError("2^-y needs an integer scale")
    share: Share = ctx.run(Separable(factors(int(y.scale), scale), bits), y)
    return share
