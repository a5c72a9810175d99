"""Rotary positions: a head's halves are turned against each other by angles that grow with the position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privinf.models.fold import F64

Places = npt.NDArray[np.int64]


def turns(places: Places, head_width: int, theta: float) -> tuple[F64, F64]:
    """Cosines and sines (places, head_width / 2), in the half-split layout of Hugging Face's Llama."""
    half = head_width // 2
    angles = places[:, None] * theta ** (-np.arange(half, dtype=np.float64) / half)
    return np.cos(angles), np.sin(angles)
