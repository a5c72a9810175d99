"""Whose turn it is to compute at the server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from privinf.errors import PeerLost
from privinf.parties.rpc.deadline import Deadline

Turn = Callable[[], AbstractContextManager[None]]


class Turns:
    """One computation at a time, as each uses all threads and holds the largest arrays; who came first is first.

    A mere lock goes to whoever runs when it is free: one who takes turn after turn would keep it from those that wait.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()  # whose turn it is, and who waits behind

    def of(self, deadline: Deadline, alive: Callable[[], bool]) -> Turn:
        """What one call takes each of its turns with."""
        return partial(self._turn, deadline, alive)

    @contextmanager
    def _turn(self, deadline: Deadline, alive: Callable[[], bool]) -> Iterator[None]:
        """Wait for it within the deadline; a client that left meanwhile gets none."""
        mine = object()
        with self._changed:
            self._queue.append(mine)
        try:
            with self._changed:
                while not self._changed.wait_for(lambda: self._queue[0] is mine, deadline.left("online")):
                    pass  # the deadline passed: asked once more, it says so
            if not alive():
                raise PeerLost("the client left")
            deadline.left("online")
            yield
        finally:
            with self._changed:
                self._queue.remove(mine)
                self._changed.notify_all()
