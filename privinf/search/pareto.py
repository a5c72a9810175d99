"""The Pareto set: what nothing else beats in both accuracy and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Rated(Protocol):
    """Whatever has both."""

    @property
    def accuracy(self) -> float: ...

    @property
    def seconds(self) -> float: ...


R = TypeVar("R", bound=Rated)


def dominates(one: Rated, other: Rated) -> bool:
    """Whether it is as good in both, and better in one."""
    no_worse = one.accuracy >= other.accuracy and one.seconds <= other.seconds
    return no_worse and (one.accuracy > other.accuracy or one.seconds < other.seconds)


def pareto(found: Sequence[R]) -> list[R]:
    """Those that nothing dominates, the quickest first."""
    best = [one for one in found if not any(dominates(other, one) for other in found)]
    return sorted(best, key=lambda one: (one.seconds, -one.accuracy))


def hypervolume(found: Sequence[Rated], slowest: float) -> float:
    """The area that a set dominates, from no accuracy and `slowest` seconds."""
    area, reached = 0.0, 0.0
    for one in pareto([one for one in found if one.seconds < slowest]):
        if one.accuracy > reached:
            area += (slowest - one.seconds) * (one.accuracy - reached)
            reached = one.accuracy
    return area
