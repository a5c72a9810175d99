"""Rows of different covers that stand for the same token, found without any weights, so that all sessions are counted.

A rotation leaves a row's length as it is: rows of two sessions that are as long as each other are the same token's. In
one session, what a position adds to all rows is the difference between the means of rows there and elsewhere.
"""

from __future__ import annotations

import numpy as np

from privinf.equivariant.attacks.matching import Array, Ids, mutual, nearest
from privinf.equivariant.attacks.traffic import Stream
from privinf.equivariant.attacks.weights import F32

SAME = 3e-7  # of a value of float32, by which rounding may change it; of a row's length the less, the more values
CLOSE = 0.35  # of the rows' spread, within which two rows are the same token's
SOME = 400  # rows of a position say by how much its mean is off
FEWEST = 50  # texts that reach a position, for their mean to say something


def linked(stream: Stream) -> Ids:
    """A number for each symbol, the same for those that are taken for one token's: by lengths over sessions, by what
    positions add within one."""
    return by_length(stream) if stream.sessions > 1 else by_position(stream)


def by_length(stream: Stream) -> Ids:
    """Rows in order of their length; where it leaps, another token begins."""
    lengths, width = list[Array](), 1
    for rows in stream.pieces():
        width = rows.shape[1]
        lengths.append(np.linalg.norm(rows.astype(np.float64), axis=1))
    joined = np.concatenate(lengths)
    order = np.argsort(joined, kind="stable")
    leaps = np.diff(joined[order]) > SAME / np.sqrt(width) * joined[order][1:]
    numbers = np.empty(len(joined), dtype=np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(leaps)])
    return numbers


def by_position(stream: Stream) -> Ids:
    """Position after position, each row takes the number of the one seen before that is closest, or one of its own."""
    counts = np.bincount(np.concatenate(stream.texts) - stream.first)
    seen, numbers = _Seen(), list[Ids]()
    for rows in stream.pieces():
        weights, counts = np.split(counts, [len(rows)])
        if weights.sum() < FEWEST or len(weights) == 1:
            numbers.append(seen.fresh(len(weights)))
        else:
            middle = np.average(rows, axis=0, weights=weights)
            numbers.append(seen.number((rows - middle).astype(np.float32)))
    return np.concatenate(numbers)


class _Seen:
    """Rows that have a number, in the frame of the first position."""

    def __init__(self) -> None:
        self._count, self._numbers = 0, np.empty(0, dtype=np.int64)
        self._rows = np.empty((0, 0), dtype=np.float32)

    def fresh(self, count: int) -> Ids:
        self._count += count
        return np.arange(self._count - count, self._count)

    def number(self, rows: F32) -> Ids:
        """Of rows whose mean is near that of those before; the numbers of what is new are fresh."""
        if not len(self._rows):
            self._rows, self._numbers = rows, self.fresh(len(rows))
            return self._numbers
        few = rows[:SOME]
        near, _ = nearest(few, self._rows, 2)
        rows = (rows - np.median(few - self._rows[near[:, 0]], axis=0)).astype(np.float32)
        near, distance = nearest(rows, self._rows, 2)
        spread = float(np.mean(np.square(self._rows).sum(1)))
        same = (distance[:, 0] < CLOSE**2 * spread) & mutual(near[:, 0], len(self._rows), distance[:, 0])
        found = np.where(same, self._numbers[near[:, 0]], -1)
        found[~same] = self.fresh(int((~same).sum()))
        self._rows = np.concatenate([self._rows, rows[~same]])
        self._numbers = np.concatenate([self._numbers, found[~same]])
        return found
