"""A moment by which all must be done, handed from one wait to the next."""

from __future__ import annotations

import time
from dataclasses import dataclass

import grpc

from privinf.errors import DeadlineExceeded, InputError

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
        """Return a moment just before the caller's own deadline; a call without one is refused."""
        left = context.time_remaining()
        if left is None or left > longest:
            raise InputError(f"a call needs a deadline of at most {longest:g} s")
        return cls.after(left - min(_MARGIN, left / 10))

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
