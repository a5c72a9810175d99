"""How many lines of one kind a log takes: a burst, then a few a second; what is left out is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
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
            kind = self._kinds.setdefault(self._known(name), _Kind(allowance, allowance.burst, now))
            kind.refill(now)
            if kind.left < 1:
                kind.missed += 1
                return None
            kind.left -= 1
            missed, kind.missed = kind.missed, 0
            return missed

    def rested(self) -> list[tuple[str, int]]:
        """Kinds of which lines were left out and that are quiet again, each with its count; said once."""
        with self._lock:
            now = self._clock()
            return list(self._settled(lambda kind: self._quiet(kind, now)))

    def all(self) -> list[tuple[str, int]]:
        """Every kind of which lines were left out, with its count; said once."""
        with self._lock:
            return list(self._settled(lambda _: True))

    def _known(self, name: str) -> str:
        return name if name in self._kinds or len(self._kinds) < _MOST_KINDS else "other"

    def _quiet(self, kind: _Kind, now: float) -> bool:
        kind.refill(now)
        return kind.left >= kind.allowance.burst

    def _settled(self, chosen: Callable[[_Kind], bool]) -> Iterator[tuple[str, int]]:
        for name, kind in self._kinds.items():
            if kind.missed and chosen(kind):
                missed, kind.missed = kind.missed, 0
                yield name, missed
