"""How long one generation at a party lasts: the first reason to end it is kept, and wakes whoever waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from privinf.errors import DeadlineExceeded, PeerLost, PrivinfError
from privinf.parties.deadline import Deadline


class Life:
    """Shared by the threads of a generation: each waits through it, for something that another does."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.changed = threading.Condition()  # also guards what is waited for
        self._error: PrivinfError | None = None
        self.draining = False  # no pass is to begin that was not asked for yet

    def end(self, error: PrivinfError) -> None:
        """End it, unless it has ended for another reason."""
        with self.changed:
            self._error = self._error or error
            self.changed.notify_all()

    def drain(self) -> None:
        """Have it end after the pass under way."""
        with self.changed:
            self.draining = True
            self.changed.notify_all()

    def wait(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Return whether it holds, at once or within `seconds`; or raise what has ended the generation."""
        with self.changed:
            self.changed.wait_for(lambda: self._error is not None or holds(), seconds)
            if self._error is not None:
                raise self._error
            return holds()

    def wait_in_time(
        self, holds: Callable[[], bool], phase: str, seconds: float = threading.TIMEOUT_MAX, late: str = ""
    ) -> None:
        """Return once it holds; raise DeadlineExceeded with `late` after `seconds`, or if the deadline passes."""
        if not self.wait(holds, min(seconds, self.deadline.left(phase))):
            self.deadline.left(phase)  # says so if it is this that has passed
            raise DeadlineExceeded(late, phase=phase)


class Lives:
    """Those of a server's long calls, each of which may last so many seconds; `what` they are, in messages."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds, self._what = seconds, what
        self._lock = threading.Lock()
        self._lives: set[Life] = set()

    def now(self) -> list[Life]:
        """Of the calls under way."""
        with self._lock:
            return list(self._lives)

    @contextmanager
    def of(self, context: grpc.ServicerContext) -> Iterator[Life]:
        """Give a call's life; it ends with the client's call, or before it."""
        life = Life(Deadline.of(context, self._seconds))
        with self._lock:
            self._lives.add(life)
        try:
            if not context.add_callback(lambda: life.end(PeerLost("the client left"))):
                life.end(PeerLost("the client left"))
            yield life
        finally:
            life.end(PeerLost(f"the {self._what} is over"))
            with self._lock:
                self._lives.discard(life)
