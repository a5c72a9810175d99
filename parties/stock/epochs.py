"""The runs of party 0 that party 1 has heard of: one is under way, those before it are over."""

from __future__ import annotations

import threading
from collections import deque

from privinf.errors import MismatchError

_REMEMBERED = 1024


class Epochs:
    """An epoch is drawn anew by each run of party 0; what it leaves undone is void with the next.

    They are forgotten by a restart of party 1. A late message of a run that is over could then have it burn or fetch
    preparations once more: those are lost, as party 0 uses none that both do not hold, and no answer is wrong.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: bytes | None = None
        self._over: deque[bytes] = deque(maxlen=_REMEMBERED)

    def enter(self, epoch: bytes) -> None:
        """Take a run for the one under way; raise MismatchError for one that another has followed."""
        with self._lock:
            if epoch in self._over:
                raise MismatchError("this run of party0 is over: another has begun since")
            if self._now is not None and self._now != epoch:
                self._over.append(self._now)
            self._now = epoch
