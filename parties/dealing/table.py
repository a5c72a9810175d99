"""What the dealer has promised and not yet delivered: a bounded number, each for a bounded time."""

from __future__ import annotations

import threading
import time
from typing import Generic, Protocol, TypeVar

from privinf.errors import Overloaded, PartyError, PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.status import attribute

_LOOK = 0.5  # seconds between looks for what is overdue, by one who waits for a place


class Promised(Protocol):
    """A preparation, or a generation, that has an id."""

    preparation_id: bytes
    order: bytes

    @property
    def overdue(self) -> bool:
        """Whether one of its parties should have come by now, and has not."""
        ...

    def abort(self, error: PrivinfError) -> None:
        """End the streams of both parties."""
        ...


P = TypeVar("P", bound=Promised)


class Meeting:
    """The two parties of one promise: each comes once, and both within so many seconds, or it is over."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds, self._what = seconds, what
        self._until = time.monotonic() + seconds
        self._changed = threading.Condition()
        self._come: set[int] = set()
        self._over = False

    @property
    def overdue(self) -> bool:
        """Whether a party has not come in time."""
        return len(self._come) < 2 and time.monotonic() >= self._until

    def come(self, party: int) -> bool:
        """Let a party in; return whether both are there."""
        with self._changed:
            if party in self._come:
                raise ProtocolError(f"this {self._what} was already fetched")
            self._come.add(party)
            self._changed.notify_all()
            return len(self._come) == 2

    def wait(self) -> None:
        """Return once both are there, or it is over; raise PeerLost that names the party that did not come."""
        with self._changed:
            if self._changed.wait_for(self._decided, max(0.0, self._until - time.monotonic())):
                return
            missing = ", ".join(f"party{party}" for party in (0, 1) if party not in self._come)
        raise attribute(PeerLost(f"{missing} did not come for its half of a {self._what}"), missing)

    def end(self) -> None:
        """Have nobody wait any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _decided(self) -> bool:
        return self._over or len(self._come) == 2


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
