"""Whether what is opened looks uniform: chi-square statistics of half bytes, as standard deviations of surprise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from privinf.protocols import ring
from privinf.protocols.ring import U64, Shape
from privinf.protocols.testing.sessions import Opening, Session
from privinf.protocols.testing.trials import I64

SURPRISE = 6.0  # standard deviations; where seeds are fixed, a test's outcome is too


def surprise(counts: I64) -> float:
    """How many standard deviations a chi-square statistic against equal counts lies too high (Wilson and Hilferty)."""
    degrees, mean = counts.size - 1, counts.mean()
    assert mean >= 10
    statistic = ((counts - mean) ** 2 / mean).sum()
    spread = 2 / (9 * degrees)
    return float(((statistic / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def worst(samples: Sequence[U64], bits: int) -> float:
    """The largest surprise among all half bytes of ring elements, cut from the low end and from the high one."""
    values = np.concatenate([s.reshape(-1) for s in samples])
    size = min(bits, 4)
    starts = {*range(0, bits - size + 1, 4), bits - size}
    cells = ((values >> np.uint64(start)) & np.uint64((1 << size) - 1) for start in starts)
    return max(surprise(np.bincount(c.astype(np.int64), minlength=1 << size).astype(np.int64)) for c in cells)


def by_opening(runs: Sequence[Session]) -> Iterator[tuple[Opening, ...]]:
    """The same opening of all sessions, one after another."""
    return zip(*(run.openings for run in runs), strict=True)


def opened_surprise(runs: Sequence[Session]) -> float:
    """The largest over all openings, of sums and of what was received."""
    return max(
        worst([getattr(o, what) for o in group], group[0].bits)
        for group in by_opening(runs)
        for what in ("opened", "received")
    )


def difference_surprise(runs: Sequence[Session]) -> float:
    """The largest among differences of the same opening in sessions 0 and 1, 2 and 3, ..."""
    return max(
        worst(
            [ring.low(a.opened - b.opened, a.bits) for a, b in zip(group[::2], group[1::2], strict=True)],
            group[0].bits,
        )
        for group in by_opening(runs)
    )


def overlap_surprise(runs: Sequence[Session]) -> float:
    """The largest among differences of two openings of one session that have a ring and a shape in common."""
    groups = list(by_opening(runs))
    alike = [(a, b) for a, b in combinations(groups, 2) if _kind(a) == _kind(b)]
    return max(
        worst([ring.low(a.opened - b.opened, a.bits) for a, b in zip(*pair, strict=True)], pair[0][0].bits)
        for pair in alike
    )


def _kind(group: Sequence[Opening]) -> tuple[int, Shape]:
    return group[0].bits, group[0].opened.shape
