"""Means and 95 % intervals of few runs, by Student's t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

# Of Student's t at 97.5 %, by degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def interval(values: Sequence[float]) -> dict[str, float | int]:
    """Mean, and half of the width of its interval: without one where there is one value alone."""
    made: dict[str, float | int] = {"mean": fmean(values), "runs": len(values)}
    if len(values) > 1:
        quantile = STUDENT[min(len(values) - 1, len(STUDENT)) - 1]
        made["half_width"] = quantile * stdev(values) / len(values) ** 0.5
    return made


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> dict[str, float | int | str]:
    """Of runs of the same seeds, seed by seed; whether the interval leaves zero out."""
    seeds = sorted(one.keys() & other.keys())
    found = interval([one[seed] - other[seed] for seed in seeds])
    half = found.get("half_width")
    if half is None or abs(found["mean"]) <= half:
        return found | {"says": "not resolved"}
    return found | {"says": "higher" if found["mean"] > 0 else "lower"}
