"""Local steps of rotary positions on shares and wires: halves of heads, and their turning by public angles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from privinf.models.decoder_plan import ROTARY
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import F64
from privinf.models.rotary import Places, turns
from privinf.protocols import ring
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share, Wire, derive


def fixed(x: F64) -> U64:
    return ring.encode(x, ROTARY)


def angles(first: Places, count: int, spec: DecoderSpec, most: int) -> U64:
    """Rows of a table: cosines and sines of `count` places from each of `first` on, one column an entry of
    (2, places, head width / 2); places are 0 to 2 * most - 1, as many as are attested.
    """
    places = np.arange(count)[:, None] + first
    assert places.min() >= 0
    return np.stack(
        [part[places] for part in circle(spec.head_width, spec.rope_theta, most)], axis=1
    ).reshape(count, -1)


@lru_cache(maxsize=8)  # made once, not in each pass
def circle(head_width: int, theta: float, most: int) -> tuple[U64, U64]:
    """Cosines and sines (places, head width / 2) of a row's own place, and as far again as padding may move it."""
    cos, sin = turns(np.arange(2 * most), head_width, theta)
    made = fixed(cos), fixed(sin)
    for part in made:
        part.setflags(write=False)  # all sessions of a process turn by it
    return made


def rotate(v: U64, cos: U64, sin: U64) -> U64:
    first, second = np.split(v, 2, axis=-1)
    return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)


def half(x: Wire, which: int) -> Wire:
    half = x.shape[-1] // 2
    return _sliced(x, (*x.shape[:-1], half), lambda v: v[..., which * half : (which + 1) * half])


def pick(x: Wire, which: int) -> Wire:
    return _sliced(x, (1, *x.shape[1:]), lambda v: v[which : which + 1])


def _sliced(x: Wire, shape: tuple[int, ...], cut: Callable[[U64], U64]) -> Wire:
    return derive([x], shape, x.bits, x.scale, public=cut, mask=cut, linear=x.shared)


def beside(first: Share, second: Share) -> Share:
    data = None
    if first.data is not None and second.data is not None:
        data = np.concatenate((first.data, second.data), axis=-1)
    return Share((*first.shape[:-1], 2 * first.shape[-1]), first.bits, first.scale, data)
