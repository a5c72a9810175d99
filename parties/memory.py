"""Gives memory back to the operating system once it will not be wanted for a while; glibc alone can be told to."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable

# The next session of a client that is at work begins sooner, and would have to ask for it again
IDLE_SECONDS = 1.0


def give_back() -> None:
    """Return what is free to the operating system; nothing happens where the C library cannot."""
    gc.collect()  # what refers to itself, as a failure and its frames do
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Idle:
    """Gives memory back when a role has had nothing to do for a moment."""

    def __init__(self, busy: Callable[[], bool], seconds: float = IDLE_SECONDS) -> None:
        self._busy, self._seconds = busy, seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def ended(self) -> None:
        """Something has ended: look in a moment whether anything else goes on."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._seconds, self._look)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Look no more."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _look(self) -> None:
        if not self._busy():
            give_back()
