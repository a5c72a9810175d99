"""A bounded number of calls at once, of which no client can take all, nor a few keep others from theirs.

When all are taken, whoever holds the most gives up the last of its calls that has not begun, for a client with less.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from privinf.errors import Overloaded
from privinf.parties.rpc.life import Life

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


def fuller(held: Mapping[str, Sequence[Any]], own: int) -> list[str]:
    """Return the clients that hold more than one who has `own` would with one more, those that hold most first."""
    more = [client for client, calls in held.items() if len(calls) > own + 1]
    return sorted(more, key=lambda client: -len(held[client]))


def sent_away() -> Overloaded:
    """What a call hears that gives up its place for another client's."""
    return Overloaded("others have less, and no room is left", retry_after=RETRY_SECONDS)


class Seats:
    """Places for calls of one kind; a client is who its certificate, or without TLS its address, says it is."""

    def __init__(self, limit: int, each: int, what: str) -> None:
        self.limit, self.each, self._what = limit, min(each, limit), what
        self._lock = threading.RLock()
        self._taken: dict[str, list[Life]] = {}
        self._closed = False

    @property
    def taken(self) -> int:
        """How many are taken."""
        with self._lock:
            return sum(map(len, self._taken.values()))

    @contextmanager
    def place(self, client: str, life: Life) -> Iterator[None]:
        """Hold one, or raise Overloaded; a call of which nothing has begun may lose it, as its life then says."""
        self._take(client, life)
        try:
            yield
        finally:
            with self._lock:
                self._free(client, life)

    def close(self) -> None:
        """Give out no more."""
        with self._lock:
            self._closed = True

    def _take(self, client: str, life: Life) -> None:
        with self._lock:
            if self._closed:
                raise Overloaded("this server is stopping", retry_after=RETRY_SECONDS)
            own = len(self._taken.get(client, ()))
            if own >= self.each:
                raise Overloaded(
                    f"{self.each} {self._what} of this client are under way", retry_after=RETRY_SECONDS
                )
            if self.taken >= self.limit and not self._yielded(own):
                raise Overloaded(f"{self.limit} {self._what} are under way", retry_after=RETRY_SECONDS)
            self._taken.setdefault(client, []).append(life)

    def _yielded(self, own: int) -> bool:
        """Have a client that holds more give one up; return whether one did."""
        for client in fuller(self._taken, own):
            for life in reversed(self._taken[client]):
                if life.send_away(sent_away()):
                    self._free(client, life)
                    return True
        return False

    def _free(self, client: str, life: Life) -> None:
        """Give one back, unless it was given up before."""
        seats = self._taken.get(client, [])
        if life in seats:
            seats.remove(life)
            if not seats:
                del self._taken[client]
