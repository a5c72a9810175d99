"""The moment by which all must be done: no wait is longer, and what is tried again ends with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from privinf.errors import ConnectError, DeadlineExceeded, PeerLost

T = TypeVar("T")
_RETRY_SECONDS = (0.05, 0.5)
_MARGIN = 0.25  # seconds before the caller gives up, so that it still hears which phase took too long


@dataclass(frozen=True)
class Deadline:
    """An absolute time of this process's monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the moment `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, context: grpc.ServicerContext, longest: float) -> Deadline:
        """Return a moment just before the caller's own deadline, and in any case within `longest`."""
        left = context.time_remaining()
        if left is None:
            return cls.after(longest)
        return cls.after(min(longest, left - min(_MARGIN, left / 10)))

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self.at

    def left(self, phase: str) -> float:
        """Return the seconds left, or raise DeadlineExceeded naming the phase."""
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(f"the deadline passed ({phase})", phase=phase)
        return seconds


def persist(attempt: Callable[[], T], seconds: float, deadline: Deadline) -> T:
    """Repeat an attempt to reach a peer, for a while; nothing may be lost by one that failed.

    If time runs out before another attempt can begin, the one that failed says why.
    """
    until, pause = min(time.monotonic() + seconds, deadline.at), _RETRY_SECONDS[0]
    failed: ConnectError | None = None
    while True:
        try:
            return attempt()
        except DeadlineExceeded as late:
            if failed is None or late.phase != "connect":
                raise
            raise failed from None
        except ConnectError as error:
            if isinstance(error, PeerLost) or time.monotonic() + pause > until:
                raise
            failed = error
        time.sleep(pause)
        pause = min(2 * pause, _RETRY_SECONDS[1])
