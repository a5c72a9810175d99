"""What may be under way at once at the server, and whose turn it is to compute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from privinf.errors import Overloaded, PeerLost
from privinf.parties.deadline import Deadline

Turn = Callable[[], AbstractContextManager[None]]


class Places:
    """A bounded number of calls of one kind."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit, self._what = limit, what
        self._lock = threading.Lock()
        self._closed = False
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one, or raise Overloaded."""
        with self._lock:
            if self._closed:
                raise Overloaded("this server is stopping")
            if self.taken >= self._limit:
                raise Overloaded(f"{self._limit} {self._what} are under way")
            self.taken += 1
        try:
            yield
        finally:
            with self._lock:
                self.taken -= 1

    def close(self) -> None:
        """Give out no more."""
        with self._lock:
            self._closed = True


class Turns:
    """One computation at a time: each uses all threads, and holds the largest arrays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def of(self, deadline: Deadline, alive: Callable[[], bool]) -> Turn:
        """What one call takes each of its turns with."""
        return partial(self._turn, deadline, alive)

    @contextmanager
    def _turn(self, deadline: Deadline, alive: Callable[[], bool]) -> Iterator[None]:
        """Wait for it within the deadline; a client that left meanwhile gets none."""
        while not self._lock.acquire(timeout=deadline.left("online")):
            pass  # the deadline passed: asked once more, it says so
        try:
            if not alive():
                raise PeerLost("the client left")
            deadline.left("online")
            yield
        finally:
            self._lock.release()
