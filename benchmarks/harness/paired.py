"""Times two things in turn, and says how far their ratio may be from one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

RESAMPLES = 4000


def paired(
    plain: Callable[[], object], ours: Callable[[], object], pairs: int, seed: int = 0
) -> dict[str, Any]:
    """Run both `pairs` times, taking turns at who is first; seconds, and the ratio with its bootstrap interval."""
    plain(), ours()  # not timed: first calls allocate
    seconds = np.array([_pair(plain, ours, turned=bool(i % 2)) for i in range(pairs)])
    ratios = seconds[:, 1] / seconds[:, 0]
    draw = np.random.default_rng(seed)
    medians = np.median(draw.choice(ratios, (RESAMPLES, pairs)), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return {
        "pairs": pairs,
        "plain_median_s": float(np.median(seconds[:, 0])),
        "ours_median_s": float(np.median(seconds[:, 1])),
        "ratio_median": float(np.median(ratios)),
        "ratio_interval_95": [float(low), float(high)],
        "interval_includes_1": bool(low <= 1.0 <= high),
    }


def _pair(plain: Callable[[], object], ours: Callable[[], object], *, turned: bool) -> tuple[float, float]:
    if turned:
        second = _seconds(ours)
        return _seconds(plain), second
    return _seconds(plain), _seconds(ours)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
