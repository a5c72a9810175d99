"""What the dealer has promised and not yet delivered: a bounded number, each for a bounded time."""

from __future__ import annotations

import threading
import time
from typing import Generic, Protocol, TypeVar

from privinf.errors import Overloaded, PartyError, PrivinfError, ProtocolError


class Promised(Protocol):
    """A preparation, or a generation, that has an id."""

    preparation_id: bytes
    created: float

    @property
    def started(self) -> bool:
        """Whether a party has come for it."""
        ...

    def abort(self, error: PrivinfError) -> None:
        """End the streams of both parties."""
        ...


P = TypeVar("P", bound=Promised)


class Table(Generic[P]):
    """Promises by id; those that nobody comes for are forgotten after a while."""

    def __init__(self, limit: int, seconds: float, what: str) -> None:
        self._limit, self._seconds, self._what = limit, seconds, what
        self._lock = threading.Lock()
        self._items: dict[bytes, P] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._items)

    def add(self, item: P) -> P:
        """Take one in, or raise Overloaded."""
        with self._lock:
            self._expire()
            if len(self._items) >= self._limit:
                raise Overloaded(f"the dealer is already {self._what} {self._limit}")
            self._items[item.preparation_id] = item
        return item

    def find(self, preparation_id: bytes) -> P:
        """Return what is still to be delivered."""
        with self._lock:
            self._expire()
            item = self._items.get(preparation_id)
        if item is None:
            raise ProtocolError("this preparation is unknown here, or no longer to be had")
        return item

    def forget(self, item: P, error: PrivinfError | None = None) -> bool:
        """Drop what is delivered, or failed with `error`; return whether it was still there."""
        if error is not None:
            item.abort(error)
        with self._lock:
            return self._items.pop(item.preparation_id, None) is not None

    def close(self) -> None:
        """Abort whatever is under way."""
        with self._lock:
            items = list(self._items.values())
        for item in items:
            self.forget(item, PartyError("the dealer is stopping"))

    def _expire(self) -> None:
        oldest = time.monotonic() - self._seconds
        for item in [item for item in self._items.values() if not item.started and item.created < oldest]:
            del self._items[item.preparation_id]
