"""How many lines of one kind a log takes: a burst, then a few a second; what is left out is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST_KINDS: Final = 256  # what differs beyond them shares one allowance


@dataclass(frozen=True)
class Allowance:
    """Lines at once, and lines a second once they are used up."""

    burst: int
    rate: float


@dataclass
class _Kind:
    allowance: Allowance
    left: float
    at: float
    missed: int = 0

    def refill(self, now: float) -> None:
        self.left = min(float(self.allowance.burst), self.left + (now - self.at) * self.allowance.rate)
        self.at = now


class Quota:
    """Allowances by kind; for any number of threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._kinds: dict[str, _Kind] = {}

    def take(self, name: str, allowance: Allowance) -> int | None:
        """Take a line's place: how many of its kind were left out before it, or None where it is left out too."""
        with self._lock:
            now = self._clock()
            known = name if name in self._kinds or len(self._kinds) < _MOST_KINDS else "other"
            kind = self._kinds.setdefault(known, _Kind(allowance, allowance.burst, now))
            kind.refill(now)
            if kind.left < 1:
                kind.missed += 1
                return None
            kind.left -= 1
            missed, kind.missed = kind.missed, 0
            return missed

    def rested(self, every: bool = False) -> list[tuple[str, int]]:
        """Kinds of which lines were left out and that are quiet again, or every one, with its count; said once."""
        told: list[tuple[str, int]] = []
        with self._lock:
            now = self._clock()
            for name, kind in self._kinds.items():
                kind.refill(now)
                if kind.missed and (every or kind.left >= kind.allowance.burst):
                    told.append((name, kind.missed))
                    kind.missed = 0
        return told
