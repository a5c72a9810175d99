"""Turns a function that writes a preparation into an iterator, a bounded number of bytes ahead of its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Condition, Thread

from privinf.protocols.contract import Buffer, Dealt

# Generation pauses beyond, so that a dealer's memory does not grow with the preparation
AHEAD_BYTES = 64 << 20
HAND_OVER = 256 << 10  # bytes at least: a pass has thousands of small buffers, and each would wake the reader
Write = Callable[[int, Buffer], None]


class _Abandoned(Exception):
    """The reader of a preparation went away."""


class _Chunks:
    """What is written and not yet read, handed over many buffers at a time."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._queue: list[Dealt] = []
        self._waiting = self._reading = 0  # bytes: of the queue, and of what its reader was handed last
        self._ended = self._abandoned = False
        self._error: BaseException | None = None

    def put(self, to: int, data: Buffer) -> None:
        """Add a buffer; wait while more than AHEAD_BYTES are unread."""
        with self._changed:
            if self._waiting + self._reading > AHEAD_BYTES:
                self._changed.wait_for(
                    lambda: self._waiting + self._reading <= AHEAD_BYTES or self._abandoned
                )
            if self._abandoned:
                raise _Abandoned
            self._queue.append((to, data))
            self._waiting += len(data)
            if self._ready():
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

    def take(self) -> list[Dealt]:
        """What there is, once it is worth it; nothing at the end."""
        with self._changed:
            self._reading = 0
            self._changed.notify_all()
            self._changed.wait_for(self._ready)
            if not self._queue and self._error is not None:
                raise self._error
            taken, self._queue = self._queue, []
            self._waiting, self._reading = 0, self._waiting
            return taken

    def _ready(self) -> bool:
        return self._ended or self._waiting >= min(HAND_OVER, AHEAD_BYTES)


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
        while taken := chunks.take():
            yield from taken
    finally:
        chunks.abandon()
        thread.join()
