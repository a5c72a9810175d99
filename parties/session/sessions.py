"""Where streams of parties that dial us meet the queries that they belong to."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from privinf.errors import Overloaded, PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.frames import peek_session
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.seats import RETRY_SECONDS
from privinf.parties.session.streams import PeerStream, guarding

_REMEMBERED = 1 << 16  # session ids refused a second time; their preparations are refused for ever


class Sessions:
    """The sessions of one party, each id once; it meets those who dial it in a bounded number of them at a time."""

    def __init__(self, limit: int, callers: int = 1) -> None:
        self.limit, self._callers = limit, callers
        self._changed = threading.Condition()
        self._seen: OrderedDict[bytes, str] = OrderedDict()  # why it ended before its parties came, if it did
        self._streams: dict[tuple[bytes, str], PeerStream] = {}
        self._met: Counter[bytes] = Counter()
        self._closed = False

    @property
    def count(self) -> int:
        """Sessions in which the other party was met, and that are not over."""
        return len(self._met)

    def begin(self, session: bytes) -> None:
        """Refuse an id that was used before."""
        with self._changed:
            if session in self._seen:
                raise ProtocolError("this session id was used before")
            self._seen[session] = ""
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def arrive(
        self, first: bytes, messages: Iterator[bytes], cancel: Callable[[], Any], caller: str
    ) -> tuple[bytes, PeerStream]:
        """Take in a stream from a party that dials us; its query may have come already, or come later."""
        session = peek_session(first)
        stream = PeerStream(itertools.chain([first], messages), Outgoing(), caller, cancel)
        with self._changed:
            if why := self._seen.get(session):
                raise PeerLost(why)
            if (session, caller) in self._streams:
                raise ProtocolError("a second stream for one session")
            if len(self._streams) >= 2 * self.limit * self._callers:
                raise Overloaded("too many sessions wait for their query", retry_after=RETRY_SECONDS)
            self._streams[session, caller] = stream
            self._changed.notify_all()
        return session, stream

    def depart(self, session: bytes, stream: PeerStream) -> None:
        """A stream has ended, used or not."""
        self._drop(session, stream)
        stream.close()
        stream.over()

    def expire(self, session: bytes, stream: PeerStream, error: PrivinfError) -> None:
        """Send a stream away that no query has come for."""
        if self._drop(session, stream):
            stream.close(error)

    @contextmanager
    def met(self, session: bytes, life: Life, seconds: float, caller: str) -> Iterator[PeerStream]:
        """Wait for a party's stream of a session, and for room, for so long; hold both until it is over."""
        try:
            stream = self._meet(session, life, seconds, caller)
        except PrivinfError as error:
            self._refuse(session, f"this session has ended: {error}")
            raise
        try:
            with guarding(stream):
                life.keep()
            yield stream
        finally:
            with self._changed:
                self._met[session] -= 1
                self._met += Counter()  # without those that are over
                self._changed.notify_all()

    def wake(self) -> None:
        """Let whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Admit no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _refuse(self, session: bytes, why: str) -> None:
        """Tell those who dial why their streams are not met, whether they have come or come yet."""
        with self._changed:
            if session in self._seen:
                self._seen[session] = why
            come = [self._streams.pop(key) for key in list(self._streams) if key[0] == session]
        for stream in come:
            stream.close(PeerLost(why))

    def _drop(self, session: bytes, stream: PeerStream) -> bool:
        with self._changed:
            there = self._streams.get((session, stream.role)) is stream
            if there:
                del self._streams[session, stream.role]
        return there

    def _meet(self, session: bytes, life: Life, seconds: float, caller: str) -> PeerStream:
        def ready() -> bool:
            room = session in self._met or len(self._met) < self.limit
            there = room and (session, caller) in self._streams
            return there or self._closed or life.error is not None

        with self._changed:
            come = self._changed.wait_for(ready, min(seconds, life.deadline.left("connect")))
            if life.error is not None:
                raise life.error
            if self._closed:
                raise Overloaded("this party is stopping", retry_after=RETRY_SECONDS)
            if not come:
                life.deadline.left("connect")  # says so if it is this that has passed
                late = f"{caller} did not come for this session in {seconds:g} s"
                raise Overloaded(late, retry_after=RETRY_SECONDS)
            self._met[session] += 1
            return self._streams.pop((session, caller))
