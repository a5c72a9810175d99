"""The messages of a call's caller: waited for no longer than the rule allows, and parsed here, never within gRPC."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, Self, TypeVar, cast

import grpc

from privinf.errors import PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.life import Bounds, Life
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.parts import join, parse, require_size

M = TypeVar("M")
_HELD = 4  # messages of 1 MiB that may lie here unread; gRPC holds the caller back beyond them
_WHOLE = 4  # times what one piece of a message may take: all of its pieces


class Direct:
    """Reads in the thread that asks: for peers, whose rounds must not wait for a second thread."""

    def __init__(self, messages: Iterator[bytes], life: Life, role: str) -> None:
        self._messages, self._life, self._role = messages, life, role

    def take(self, seconds: float, late: str) -> bytes | None:
        """Return the next one; the call is cut where it does not come, and its caller is told no more."""
        try:
            with self._life.watched(seconds, late):
                return next(self._messages, None)
        except grpc.RpcError as error:
            raise self._life.error or PeerLost(f"{self._role} left") from error

    def peek(self, seconds: float, late: str) -> bytes | None:
        """Nobody knows."""
        return None

    def due(self) -> bool:
        """Whether `take` would return at once: nobody knows."""
        return False

    def some(self) -> bool:
        """Whether a message lies here unread: nobody knows."""
        return False


class Read:
    """Reads in a thread of its own, so that a wait can end for other reasons and the caller be told why.

    So many messages are read before somebody asks for them.
    """

    def __init__(self, messages: Iterator[bytes], life: Life, ahead: int = _HELD) -> None:
        self._messages, self._life, self._ahead = messages, life, ahead
        self._items: deque[bytes] = deque()
        self._ended = self._wanted = False
        threading.Thread(target=self._run, name="inbox", daemon=True).start()

    def take(self, seconds: float, late: str) -> bytes | None:
        """Return the next one, or None after the last; DeadlineExceeded with `late` after so many seconds."""
        with self._life.changed:
            self.peek(seconds, late)
            self._wanted = False
            self._life.changed.notify_all()
            return self._items.popleft() if self._items else None

    def peek(self, seconds: float, late: str) -> bytes | None:
        """As `take`, and leave it where it is; None also after the last."""
        with self._life.changed:
            self._wanted = True
            self._life.changed.notify_all()
            self._life.wait_in_time(self.due, "online", seconds, late)
            return self._items[0] if self._items else None

    def due(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._items) or self._ended

    def some(self) -> bool:
        """Whether a message lies here unread."""
        return bool(self._items)

    def _run(self) -> None:
        try:
            while not self._ended:
                self._life.wait(lambda: len(self._items) < (self._ahead or int(self._wanted)))
                self._put(next(self._messages, None))
        except grpc.RpcError:
            self._life.end(PeerLost("the client left"))
        except PrivinfError:
            pass  # the call is over: nobody reads on

    def _put(self, message: bytes | None) -> None:
        with self._life.changed:
            if message is None:
                self._ended = True
            else:
                self._items.append(message)
            self._life.changed.notify_all()


Source = Direct | Read  # messages as they come over the wire


class Requests(Generic[M]):
    """What one call is asked, message after message; each that is iterated over is due."""

    def __init__(
        self,
        source: Source,
        method: Method,
        life: Life,
        bounds: Bounds,
        client: str,
        raw: Iterator[bytes],
        limit: int,
    ) -> None:
        self.life, self.bounds, self.client = life, bounds, client
        self.raw = raw  # what the source reads, for one who bounds his own waits
        self.due, self.some = source.due, source.some
        self._source, self._kind = source, method.request
        self._patience = bounds.due, f"{method.name}: a message that was due did not come"
        self._limit = limit
        self._marks = int(method.parts[0])  # bytes of a piece that say whether more follow
        self._messages = join(self._wire(), limit) if method.parts[0] else self._wire()
        self._by: float | None = None  # when all of the message has to be there, once it has begun

    def __iter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Wait for the first piece of the first message, and refuse one that is too large; no more of it is read."""
        first = self._source.peek(*self._patience)
        require_size(len(first or b"") - self._marks, self._limit)

    def __next__(self) -> M:
        self._by = None
        encoded = next(self._messages)
        self.life.keep()
        return cast(M, encoded if self._kind is None else parse(self._kind, encoded))

    def within(self, seconds: float, late: str) -> M | None:
        """Return the next message, or None after the last: its caller may choose when it comes."""
        before, self._patience = self._patience, (seconds, late)
        try:
            return next(self, None)
        finally:
            self._patience = before

    def only(self) -> M:
        """Return the one message of a call that has one."""
        message = next(self, None)
        if message is None:
            raise ProtocolError("a call without its message")
        return message

    def opening(self, what: str) -> Any:
        """Return what the first message opens a call with; `what` is said where it is another, or none."""
        first: Any = next(self, None)
        if first is None or first.WhichOneof("part") != "open":
            raise ProtocolError(what)
        return first.open

    def _wire(self) -> Iterator[bytes]:
        while (message := self._source.take(*self._wait())) is not None:
            require_size(len(message) - self._marks, self._limit)
            self._by = self._by or time.monotonic() + _WHOLE * self.bounds.due
            yield message

    def _wait(self) -> tuple[float, str]:
        """How long for the next piece, and what to say where it does not come."""
        if self._by is None:
            return self._patience
        whole = f"all of a message did not come within {_WHOLE * self.bounds.due:g} s"
        left, due = max(0.0, self._by - time.monotonic()), self.bounds.due
        return (left, whole) if left < due else (due, "a piece of a message that was due did not come")


AnyRequests = Requests[Any]
