"""Rotary positions: halves of a head turned against each other; local steps on values and wires."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from privinf.models.engines.shapes import derived
from privinf.models.fold import F64
from privinf.models.plan.scales import ROTARY
from privinf.models.spec import Rotary
from privinf.protocols import ring
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64

Places = npt.NDArray[np.int64]


def turns(places: Places, rotary: Rotary) -> tuple[F64, F64]:
    """Cosines and sines (..., width / 2) of places (...), in the half-split layout of Hugging Face's Llama."""
    half = rotary.width // 2
    angles = places[..., None] * rotary.theta ** (-np.arange(half, dtype=np.float64) / half)
    return np.cos(angles), np.sin(angles)


def angles(first: Places, count: int, rotary: Rotary, most: int) -> U64:
    """Rows of a table: cosines and sines of `count` places from each of `first` on, one column an entry of
    (2, places, width / 2); places are 0 to 2 * most - 1, as many as are attested.
    """
    places = np.arange(count)[:, None] + first
    assert places.min() >= 0
    return np.stack([part[places] for part in circle(rotary, most)], axis=1).reshape(count, -1)


@lru_cache(maxsize=8)  # made once, not in each pass
def circle(rotary: Rotary, most: int) -> tuple[U64, U64]:
    """Cosines and sines (places, width / 2) of a row's own place, and as far again as padding may move it."""
    cos, sin = turns(np.arange(2 * most), rotary)
    made = ring.encode(cos, ROTARY), ring.encode(sin, ROTARY)
    for part in made:
        part.setflags(write=False)  # all sessions of a process turn by it
    return made


def rotate(v: U64, cos: U64, sin: U64) -> U64:
    """Halves of heads turned against each other."""
    first, second = np.split(v, 2, axis=-1)
    return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)


def half(x: Wire, which: int) -> Wire:
    """The first or the second half of each head."""
    width = x.shape[-1] // 2
    return derived(x, (*x.shape[:-1], width), lambda v: v[..., which * width : (which + 1) * width])


def pick(x: Wire, which: int) -> Wire:
    """Cosines or sines of (2, batch, rows, width / 2), for all heads (batch, 1, rows, width / 2)."""
    batch, *rest = x.shape[1:]
    return derived(x, (batch, 1, *rest), lambda v: v[which][:, None])
