"""Nearest rows of one matrix in another, in blocks, and rows made comparable by sorting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]
BLOCK = 256
TOP = 10
ROUNDING = 32  # units of the last place by which a product of rows may be off


def nearest(rows: Array, pool: Array, top: int = TOP) -> tuple[Ids, Array]:
    """The `top` rows of `pool` closest to each row, best first, with squared distances that are exact."""
    top = min(top, len(pool))
    quick, wide = _Pool(pool), None
    found = np.empty((len(rows), top), dtype=np.int64)
    distance = np.empty((len(rows), top))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        near, rough = quick.closest(block, top)
        if len(doubtful := quick.doubtful(block, near, rough)):
            wide = wide or _Pool(pool.astype(np.float64))
            near[doubtful] = wide.closest(block[doubtful], top)[0]
        exact = np.square(block[:, None].astype(np.float64) - pool[near]).sum(-1)
        order = np.argsort(exact, axis=1, kind="stable")
        found[start : start + BLOCK] = np.take_along_axis(near, order, 1)
        distance[start : start + BLOCK] = np.take_along_axis(exact, order, 1)
    return found, distance


class _Pool:
    """Candidates, with their squares computed once."""

    def __init__(self, rows: Array) -> None:
        self._rows, self._squares = rows, np.einsum("ij,ij->i", rows, rows)

    def closest(self, block: Array, top: int) -> tuple[Ids, Array]:
        """The closest in any order, and their squared distances but for the block's own squares."""
        rough = self._squares - 2 * (block.astype(self._rows.dtype, copy=False) @ self._rows.T)
        near = np.argpartition(rough, top - 1, axis=1)[:, :top]
        return near, np.take_along_axis(rough, near, 1)

    def doubtful(self, block: Array, near: Ids, rough: Array) -> Ids:
        """Rows of which rounding may have lost the closest: some that were kept are as close as the best."""
        size = np.einsum("ij,ij->i", block, block) + self._squares[near].max(1)
        close = rough.max(1) - rough.min(1) <= ROUNDING * np.finfo(rough.dtype).eps * size
        return np.flatnonzero(close)


def sketch(rows: Array, size: int) -> Array:
    """Each row's entries in order, thinned or repeated to `size` of them: what no permutation of columns changes.

    Rows of two widths have sketches of one.
    """
    ordered = np.sort(rows, axis=1)
    places = np.linspace(0, rows.shape[1] - 1, size).round().astype(np.int64)
    return np.ascontiguousarray(ordered[:, places])


def mutual(best: Ids, pool: int, distance: Array) -> npt.NDArray[np.bool_]:
    """Which rows are also the closest of all rows to the row that is closest to them."""
    least = np.full(pool, np.inf)
    np.minimum.at(least, best, distance)
    return distance <= least[best]


def vote(lists: Sequence[tuple[Ids, float]], top: int = TOP) -> Ids:
    """One ranking of several: a candidate scores each list's weight over its rank there."""
    joined = np.concatenate([ranks for ranks, _ in lists], axis=1)
    weights = np.concatenate([weight / (1.0 + np.arange(ranks.shape[1])) for ranks, weight in lists])
    found = np.empty((len(joined), top), dtype=np.int64)
    for place, row in enumerate(joined):
        known, where = np.unique(row, return_inverse=True)
        order = known[np.argsort(-np.bincount(where, weights), kind="stable")][:top]
        found[place] = np.pad(order, (0, top - len(order)), constant_values=-1)
    return found
