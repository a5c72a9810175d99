"""What a party has ordered of the dealer, counted where it is ordered: nothing is sent that would be refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from privinf.errors import PeerLost
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life


class Places:
    """A dealer's places, as many as its last reply said; whoever needs one waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0
        self._limit: int | None = None  # not known before the first reply: the dealer makes us wait then

    def learn(self, limit: int) -> None:
        """Take in what the dealer says; a dealer of other settings may have been started in its place."""
        with self._changed:
            self._limit = max(limit, 1)
            self._changed.notify_all()

    def wake(self) -> None:
        """Have those who wait look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def take(self, deadline: Deadline, wanted: Callable[[], bool] = lambda: True) -> Callable[[], None]:
        """Wait for a place while it is wanted; return what gives it back, however often it is called."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._free() or not wanted(), deadline.left("offline")):
                pass
            if not wanted():
                raise PeerLost("the client left")
            self._taken += 1
        given = threading.Lock()

        def give_back() -> None:
            if given.acquire(blocking=False):
                with self._changed:
                    self._taken -= 1
                    self._changed.notify_all()

        return give_back

    @contextmanager
    def hold(self, life: Life) -> Iterator[None]:
        """Hold a place while something is ordered and fetched for a call."""
        life.on_end(self.wake)
        give_back = self.take(life.deadline, lambda: life.error is None)
        try:
            yield
        finally:
            give_back()

    def _free(self) -> bool:
        return self._limit is None or self._taken < self._limit
