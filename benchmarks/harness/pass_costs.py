"""What one pass of a measured generation took, and what many of them took in the middle and at the extremes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.harness.rows import MeasureError
from privinf.models.programs.layout import SessionLayout
from privinf.protocols.contract import SessionShape
from privinf.sdk.outcomes import Stats

Pace = Literal["online", "sustained"]
PACES: tuple[Pace, ...] = ("online", "sustained")
READY = 0.005  # seconds that a pass may wait for a preparation which counts as made beforehand


@dataclass(frozen=True)
class Pass:
    """One pass: seconds by the client's clock from its sending; the slower party's and larger counts.

    keys: to how many slots a row attends, padding and its own pass included.
    """

    rows: int
    keys: int
    seconds: float
    online_seconds: float
    offline_seconds: float
    prepare_seconds: float
    rounds: int
    online_bytes: int
    preparation_bytes: tuple[int, int]
    query_bytes: int

    @classmethod
    def of(cls, stats: Stats, rows: int, keys: int) -> Pass:
        """The figures of a pass."""
        first, second = stats.parties
        slower = max(first, second, key=lambda party: party.online_seconds)
        return cls(
            rows,
            keys,
            stats.seconds,
            slower.online_seconds,
            max(first.offline_seconds, second.offline_seconds),
            max(first.prepare_seconds, second.prepare_seconds),
            slower.rounds,
            max(first.online_bytes, second.online_bytes),
            (first.preparation_bytes, second.preparation_bytes),
            stats.query_bytes,
        )


def passes_of(layout: SessionLayout, shape: SessionShape, stats: Sequence[Stats]) -> tuple[Pass, ...]:
    """The figures of a session's passes, in order."""
    keys, passes = len(layout.plan.prefix), list[Pass]()
    for index, one in enumerate(stats):
        rows = layout.rows(shape, index)
        keys += rows
        passes.append(Pass.of(one, rows, keys))
    return tuple(passes)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(passes: Sequence[Pass], pace: Pace) -> dict[str, Any]:
    """Costs of one-token passes; with the pace `online`, of those whose preparation was ready."""
    counted = [p for p in passes if pace == "sustained" or p.offline_seconds < READY]
    if not counted:
        raise MeasureError("no pass had its preparation made beforehand")
    return {
        "passes": len(counted),
        "left_out": len(passes) - len(counted),
        "seconds": spread([p.seconds for p in counted]),
        "online_seconds": spread([p.online_seconds for p in counted]),
        "prepare_seconds": spread([p.prepare_seconds for p in counted]),
        "rounds": counted[0].rounds,
        "online_bytes": spread([p.online_bytes for p in counted]),
        "preparation_bytes": [spread([p.preparation_bytes[b] for p in counted]) for b in (0, 1)],
        "query_bytes": counted[0].query_bytes,
        "keys": [counted[0].keys, counted[-1].keys],
    }
