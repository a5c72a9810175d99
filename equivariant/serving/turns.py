"""Whose turn it is to compute at the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from privinf.errors import PeerLost
from privinf.parties.deadline import Deadline

Turn = Callable[[], AbstractContextManager[None]]


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
