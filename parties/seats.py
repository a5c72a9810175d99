"""A bounded number of calls at once, of which no client can take all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from privinf.errors import Overloaded

RETRY_SECONDS = 1.0  # where nothing better is known


def share_of(limit: int, own: int = 0) -> int:
    """Return how many of so many places one client may take: its own setting, or half."""
    return min(limit, own or max(1, limit // 2))


@contextmanager
def unstarted() -> Iterator[None]:
    """Say of a refusal in here that nothing was started: it is worth asking again."""
    try:
        yield
    except Overloaded as refusal:
        refusal.retry_after = refusal.retry_after or RETRY_SECONDS
        raise


class Seats:
    """Places for calls of one kind; a client is who its certificate, or without TLS its address, says it is."""

    def __init__(self, limit: int, each: int, what: str) -> None:
        self.limit, self.each, self._what = limit, min(each, limit), what
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._closed = False

    @property
    def taken(self) -> int:
        """How many are taken."""
        with self._lock:
            return self._taken.total()

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Hold one, or raise Overloaded."""
        self._take(client)
        try:
            yield
        finally:
            with self._lock:
                self._taken[client] -= 1
                if not self._taken[client]:
                    del self._taken[client]

    def close(self) -> None:
        """Give out no more."""
        with self._lock:
            self._closed = True

    def _take(self, client: str) -> None:
        with self._lock:
            if self._closed:
                raise Overloaded("this server is stopping", retry_after=RETRY_SECONDS)
            if self._taken.total() >= self.limit:
                raise Overloaded(f"{self.limit} {self._what} are under way", retry_after=RETRY_SECONDS)
            if self._taken[client] >= self.each:
                raise Overloaded(
                    f"{self.each} {self._what} of this client are under way", retry_after=RETRY_SECONDS
                )
            self._taken[client] += 1
