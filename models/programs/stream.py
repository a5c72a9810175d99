"""Turns a function that writes a preparation into an iterator, a bounded number of bytes ahead of its reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Thread

from privinf.protocols.contract import Buffer, Dealt

# Generation pauses beyond, so that a dealer's memory does not grow with the preparation
AHEAD_BYTES = 64 << 20
Write = Callable[[int, Buffer], None]


class _Abandoned(Exception):
    """The reader of a preparation went away."""


class _Chunks:
    """What is written and not yet read."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._queue: deque[Dealt] = deque()
        self._waiting, self._ended, self._abandoned = 0, False, False
        self._error: BaseException | None = None

    def put(self, to: int, data: Buffer) -> None:
        """Add a buffer; wait while more than AHEAD_BYTES are unread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= AHEAD_BYTES or self._abandoned)
            if self._abandoned:
                raise _Abandoned
            self._queue.append((to, data))
            self._waiting += len(data)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        with self._changed:
            self._abandoned = True
            self._queue.clear()
            self._changed.notify_all()

    def next(self) -> Dealt | None:
        """The oldest, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._queue) or self._ended)
            if not self._queue:
                if self._error is not None:
                    raise self._error
                return None
            item = self._queue.popleft()
            self._waiting -= len(item[1])
            self._changed.notify_all()
            return item


def streamed(produce: Callable[[Write], object]) -> Iterator[Dealt]:
    """Run `produce(write)` in a thread; abandoning the iterator stops it at its next write."""
    chunks = _Chunks()

    def work() -> None:
        try:
            produce(chunks.put)
        except _Abandoned:
            return
        except BaseException as error:  # handed to the reader, who raises it
            chunks.end(error)
        else:
            chunks.end()

    thread = Thread(target=work, name="deal", daemon=True)
    thread.start()
    try:
        yield from iter(chunks.next, None)
    finally:
        chunks.abandon()
        thread.join()
