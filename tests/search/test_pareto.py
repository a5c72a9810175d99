"""The Pareto set, and the area that it dominates."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

pytest.importorskip("optuna")

from privinf.search.pareto import hypervolume, pareto


@dataclass(frozen=True)
class Point:
    accuracy: float
    seconds: float


def test_the_pareto_set() -> None:
    points = [Point(0.9, 3), Point(0.8, 1), Point(0.7, 2), Point(0.9, 4), Point(0.95, 5)]
    assert pareto(points) == [Point(0.8, 1), Point(0.9, 3), Point(0.95, 5)]
    assert hypervolume(points, 5) == pytest.approx(0.8 * 4 + 0.1 * 2)
    assert hypervolume([], 5) == 0
