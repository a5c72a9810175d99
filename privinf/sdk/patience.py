"""How long a client waits before it asks again what no server had room for."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar

from privinf.errors import DeadlineExceeded, Overloaded
from privinf.parties.rpc.deadline import Deadline

T = TypeVar("T")
_GROWTH: Final = 1.5  # of the pause, where it is refused again
_MOST: Final = 8.0  # times the server's hint
_JITTER: Final = (0.5, 1.5)  # so that those who were refused together do not come back together

Uniform = Callable[[float, float], float]
_UNIFORM: Final[Uniform] = secrets.SystemRandom().uniform


class Patience:
    """The pauses of one call, until its deadline."""

    def __init__(self, until: Deadline, uniform: Uniform = _UNIFORM) -> None:
        self._until, self._uniform, self._factor = until, uniform, 1.0
        self._refusal: Overloaded | None = None

    def pause(self, refusal: Overloaded, again: bool = True) -> float:
        """Return how long to wait after a refusal; raise it if something was started, or no time is left."""
        if refusal.retry_after is None or not again:
            raise refusal
        seconds = refusal.retry_after * self._factor * self._uniform(*_JITTER)
        self._factor, self._refusal = min(_GROWTH * self._factor, _MOST), refusal
        if time.monotonic() + seconds >= self._until.at:
            raise refusal
        return seconds

    def late(self, started: bool = False) -> None:
        """Time ran out: raise the last refusal, if there was one and nothing was started since. It says why."""
        if self._refusal is not None and not started:
            raise self._refusal from None


def patiently(attempt: Callable[[], T], until: Deadline, sleep: Callable[[float], object] = time.sleep) -> T:
    """Repeat an attempt that is refused for want of room, until the deadline."""
    patience = Patience(until)
    while True:
        try:
            return attempt()
        except Overloaded as refusal:
            seconds = patience.pause(refusal)
        except DeadlineExceeded:
            patience.late()
            raise
        sleep(seconds)
