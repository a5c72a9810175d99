"""One call of a client as its backend sees it: how long it may take, whom to tell of progress, whether it is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from privinf.parties.rpc.deadline import Deadline
from privinf.sdk.asked import seconds

Progress = Callable[[int], None]


class Running(Protocol):
    """Something under way at the servers."""

    def cancel(self) -> None:
        """Drop it there, at once; idempotent."""


R = TypeVar("R", bound=Running)


class Call:
    """Another thread may drop it at any time, with whatever is under way for it.

    timeout: seconds for each query, or for each pass of a generation; the configuration's deadline if it is left out.
    progress: is told of texts done.
    """

    def __init__(self, timeout: float | None = None, progress: Progress | None = None) -> None:
        self.timeout, self.progress = seconds(timeout), progress or (lambda done: None)
        self._lock, self._dropped = threading.Lock(), threading.Event()
        self._running: Running | None = None
        self.late = 0.0  # seconds that it has waited for its turn in the client
        self.sleep = self._dropped.wait

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._dropped.is_set()

    def until(self, configured: float, given: float | None = None) -> Deadline:
        """The end of what begins now; that a call had to wait for its turn shortens what it begins with."""
        late, self.late = self.late, 0.0
        return Deadline.after((configured if given is None else given) - late)

    def cancel(self) -> None:
        """Drop what is under way for it, and whatever would be asked after that."""
        with self._lock:
            self._dropped.set()
            running = self._running
        if running is not None:
            running.cancel()

    def begun(self, running: R) -> R:
        """Note what is under way now."""
        with self._lock:
            self._running, over = running, self.dropped
        if over:
            running.cancel()
        return running
