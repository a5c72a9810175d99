"""Relative positions in buckets: exact near the diagonal, half octaves beyond, one bucket for all that is far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BUCKETS = 32
SIDE = BUCKETS // 2  # buckets of each direction
EXACT = SIDE // 2  # distances below have a bucket each


def buckets(tokens: int) -> npt.NDArray[np.intp]:
    """Bucket of each key as each query sees it, (tokens, tokens): public, as it depends on the length alone."""
    place = np.arange(tokens)
    towards = place[None, :] - place[:, None]
    distance = np.abs(towards)
    # floor(log2) of the squared ratio is its binary exponent, which frexp gives one too high and without rounding.
    half_octaves = np.frexp((distance / EXACT) ** 2)[1] - 1
    far = np.minimum(EXACT + half_octaves, SIDE - 1)
    found: npt.NDArray[np.intp] = np.where(towards > 0, SIDE, 0) + np.where(distance < EXACT, distance, far)
    return found
