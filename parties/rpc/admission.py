"""Who may compute, and who waits for it: party 0 decides for both, with a bounded queue that is fair between clients.

Nothing of a query but its public shape has been sent when it waits, so that one that is refused may be asked anew. So
a full queue makes room for a client that has less in it: whoever has the most waiting loses the last of it.
Party 1 lets the same query wait until party 0 comes for it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from privinf.errors import Overloaded
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.seats import RETRY_SECONDS, Seats, fuller, sent_away

_RECENT = 0.2  # what the last call weighs in the mean of what calls take
_RETRY = (0.1, 60.0)  # bounds of a hint, in seconds


@dataclass(frozen=True)
class Room:
    """How many may compute and how many wait, in all and of one client."""

    places: int
    places_each: int
    waiting: int
    waiting_each: int


@dataclass(eq=False)
class _Ticket:
    client: str
    life: Life
    came: float
    granted: bool = False
    gone: bool = False  # given up for another client's


@dataclass
class _Client:
    """One client's calls: those that wait, in order, and how many compute."""

    waiting: deque[_Ticket] = field(default_factory=deque)
    running: int = 0


class Queue:
    """Party 0's: a client that asks for much waits for itself, and not before others."""

    def __init__(
        self,
        room: Room,
        wait_seconds: float,
        waited: Callable[[float], None] = lambda seconds: None,
        refused: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room, self._wait_seconds, self._clock = room, wait_seconds, clock
        self._waited, self._refused = waited, refused
        self._lock = threading.RLock()
        self._clients: OrderedDict[str, _Client] = OrderedDict()  # the next to be served comes first
        self._taken_seconds: float | None = None  # what a call holds its place for, of late
        self._closed = False

    @property
    def running(self) -> int:
        """How many hold a place."""
        with self._lock:
            return sum(one.running for one in self._clients.values())

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        with self._lock:
            return sum(len(one.waiting) for one in self._clients.values())

    @contextmanager
    def place(self, client: str, life: Life) -> Iterator[None]:
        """Hold a place, after a wait where there is none."""
        ticket = self._granted(client, life)
        began = self._clock()
        self._waited(began - ticket.came)
        try:
            yield
        finally:
            self._note(self._clock() - began)
            self._leave(ticket)

    def close(self) -> None:
        """Admit no more, and send away those that wait."""
        with self._lock:
            self._closed = True
            tickets = [ticket for one in self._clients.values() for ticket in one.waiting]
        for ticket in tickets:
            ticket.life.end(Overloaded("this party is stopping", retry_after=RETRY_SECONDS))

    def _granted(self, client: str, life: Life) -> _Ticket:
        """Return a ticket once it has a place."""
        try:
            ticket = self._enter(client, life)
            try:
                self._await(ticket)
            except BaseException:
                self._leave(ticket)
                raise
        except Overloaded:
            self._refused()
            raise
        return ticket

    def _enter(self, client: str, life: Life) -> _Ticket:
        ticket = _Ticket(client, life, self._clock())
        life.spare()
        lost: _Ticket | None = None
        with self._lock:
            if self._closed:
                raise Overloaded("this party is stopping", retry_after=RETRY_SECONDS)
            own = self._clients.get(client, _Client())
            at_once = self.running < self._room.places and own.running < self._room.places_each
            if len(own.waiting) >= self._room.waiting_each:
                raise Overloaded(
                    f"{len(own.waiting)} calls of this client wait already", retry_after=self._hint(client)
                )
            if self.waiting >= self._room.waiting and not at_once:  # others may wait for their own places
                lost = self._yielded(own)
                if lost is None:
                    raise Overloaded(f"{self.waiting} calls wait already", retry_after=self._hint(client))
            self._clients[client] = own
            own.waiting.append(ticket)
            self._grant()
        if lost is not None:
            lost.life.end(sent_away())
        return ticket

    def _yielded(self, own: _Client) -> _Ticket | None:
        """Take the last ticket of a client that has more waiting than another that comes."""
        waiting = {name: one.waiting for name, one in self._clients.items()}
        most = next(iter(fuller(waiting, len(own.waiting))), None)
        if most is None:
            return None
        ticket = waiting[most].pop()
        ticket.gone = True
        return ticket

    def _await(self, ticket: _Ticket) -> None:
        left = ticket.life.deadline.left("connect")
        if not ticket.life.wait(lambda: ticket.granted, min(self._wait_seconds, left)):
            ticket.life.deadline.left("connect")  # says so if it is this that has passed
            late = f"no free place within {self._wait_seconds:g} s"
            raise Overloaded(late, retry_after=self._hint(ticket.client))
        ticket.life.keep()

    def _leave(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket.gone:
                return
            own = self._clients[ticket.client]
            if ticket.granted:
                own.running -= 1
            else:
                own.waiting.remove(ticket)
            if not own.running and not own.waiting:
                del self._clients[ticket.client]
            self._grant()

    def _grant(self) -> None:
        """Give out what places there are, client after client."""
        while self.running < self._room.places and (client := self._next()) is not None:
            own = self._clients[client]
            ticket = own.waiting.popleft()
            own.running += 1
            self._clients.move_to_end(client)
            with ticket.life.changed:
                ticket.granted = True
                ticket.life.changed.notify_all()

    def _next(self) -> str | None:
        most = self._room.places_each
        ready = (name for name, one in self._clients.items() if one.waiting and one.running < most)
        return next(ready, None)

    def _note(self, seconds: float) -> None:
        with self._lock:
            before = seconds if self._taken_seconds is None else self._taken_seconds
            self._taken_seconds = before + _RECENT * (seconds - before)

    def _hint(self, client: str) -> float:
        """Return after how many seconds there should be room for another call, judging by those of late."""
        with self._lock:
            if self._taken_seconds is None:
                return RETRY_SECONDS
            own, room = self._clients.get(client, _Client()), self._room
            rounds = max((self.waiting + 1) / room.places, (len(own.waiting) + 1) / room.places_each)
            return min(max(rounds * self._taken_seconds, _RETRY[0]), _RETRY[1])


class Parked(Seats):
    """Party 1's: whoever has opened waits for party 0, which knows whose turn it is."""

    def __init__(self, room: Room, running: Callable[[], int]) -> None:
        super().__init__(room.places + room.waiting, room.places_each + room.waiting_each, "calls")
        self._running = running

    @property
    def running(self) -> int:
        """How many party 0 has come for."""
        return self._running()

    @property
    def waiting(self) -> int:
        """How many wait for party 0."""
        return max(0, self.taken - self.running)

    @contextmanager
    def place(self, client: str, life: Life) -> Iterator[None]:
        """Hold room for a call from its opening to its end."""
        life.spare()
        with super().place(client, life):
            yield


Admission = Queue | Parked  # what a party asks before it computes
