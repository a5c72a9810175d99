"""What the dealer has promised and not yet delivered: a bounded number, each for a bounded time."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

from privinf.errors import Overloaded, PartyError, PeerLost, PrivinfError, ProtocolError
from privinf.parties.dealing.delivery import Delivery

_LOOK = 0.5  # seconds between looks for what is overdue, by one who waits for a place


P = TypeVar("P", bound=Delivery)


class Table(Generic[P]):
    """Promises by id; one that is overdue is forgotten, and the next may wait a while for a place."""

    def __init__(self, limit: int, patience: float, what: str) -> None:
        self.limit = limit
        self._patience, self._what = patience, what
        self._changed = threading.Condition()
        self._items: dict[bytes, P] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        with self._changed:
            self._expire()
            return len(self._items)

    def add(self, item: P) -> P:
        """Take one in, at the latest when it has waited long enough for a place; or raise Overloaded.

        What is asked for under an order that is here already is the promise that was made then.
        """
        until = time.monotonic() + self._patience
        with self._changed:
            while (promised := self._taken_in(item)) is None:
                left = until - time.monotonic()
                if left <= 0:
                    raise Overloaded(f"the dealer is already {self._what} {self.limit}")
                self._changed.wait(min(left, _LOOK))
            return promised

    def find(self, preparation_id: bytes) -> P:
        """Return what is still to be delivered."""
        with self._changed:
            self._expire()
            item = self._items.get(preparation_id)
        if item is None:
            raise ProtocolError("this preparation is unknown here, or no longer available")
        return item

    def drop(self, which: bytes, error: PrivinfError) -> None:
        """End the promise of this id or order, if there is one."""
        with self._changed:
            item = self._items.get(which) or self._ordered(which)
        if item is not None:
            self.forget(item, error)

    def forget(self, item: P, error: PrivinfError | None = None) -> bool:
        """Drop what is delivered, or failed with `error`; return whether it was still there."""
        if error is not None:
            item.abort(error)
        with self._changed:
            self._changed.notify_all()
            return self._items.pop(item.preparation_id, None) is not None

    def close(self) -> None:
        """Abort whatever is under way."""
        with self._changed:
            items = list(self._items.values())
        for item in items:
            self.forget(item, PartyError("the dealer is stopping"))

    def _taken_in(self, item: P) -> P | None:
        self._expire()
        if (same := self._ordered(item.order)) is not None:
            return same
        if len(self._items) >= self.limit:
            return None
        self._items[item.preparation_id] = item
        return item

    def _ordered(self, order: bytes) -> P | None:
        return next((item for item in self._items.values() if order and item.order == order), None)

    def _expire(self) -> None:
        for item in [item for item in self._items.values() if item.overdue]:
            item.abort(PeerLost("nobody came for this preparation in time"))
            del self._items[item.preparation_id]
