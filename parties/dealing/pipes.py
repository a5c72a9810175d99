"""Bytes on their way from the dealer's program to one party: gathered into messages, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO

from privinf.errors import DeadlineExceeded, PrivinfError, ProtocolError
from privinf.parties.rpc.frames import CHUNK
from privinf.protocols.contract import Buffer

_SMALL = CHUNK // 4  # from here on a message of its own costs less than gathering


class Pipe:
    """Chunks on their way to one party: `put` waits while it holds enough, `get` while it is empty."""

    def __init__(self, limit: int, stall_seconds: float) -> None:
        self._limit, self._stall = limit, stall_seconds  # in bytes, one chunk beyond it
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held = self._taken = 0
        self._waiting = False  # whether the reader has come back for more
        self._ended = False
        self._error: PrivinfError | None = None

    def put(self, chunk: bytes) -> None:
        """Add a chunk; raise DeadlineExceeded if nobody makes room for it in time."""
        with self._changed:
            self._wait(lambda: self._held < self._limit)
            self._chunks.append(chunk)
            self._held += len(chunk)
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until all was taken; raise DeadlineExceeded if the reader stops on the way."""
        with self._changed:
            while not self._settled():
                self._wait(partial(self._went_on, self._taken))

    def _went_on(self, before: int) -> bool:
        return self._taken != before or self._settled()

    def end(self, error: PrivinfError | None = None) -> None:
        """Close it; with an error, drop what is left."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            if self._error is not None:
                self._chunks.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._get, None)

    def _settled(self) -> bool:
        return self._waiting and not self._chunks

    def _wait(self, holds: Callable[[], bool]) -> None:
        done = self._changed.wait_for(lambda: holds() or self._error is not None, self._stall)
        if self._error is not None:
            raise self._error
        if not done:
            raise DeadlineExceeded("a party does not fetch its preparation", phase="offline")

    def _get(self) -> bytes | None:
        with self._changed:
            self._waiting = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._chunks) or self._ended)
            self._waiting = False
            if self._error is not None:
                raise self._error
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._held -= len(chunk)
            self._taken += 1
            self._changed.notify_all()
            return chunk


class Packer:
    """Gathers small buffers of one party into messages of at most CHUNK bytes.

    With a total, it counts all of them, and refuses more or fewer.
    """

    def __init__(self, put: Callable[[bytes], None], total: int | None = None) -> None:
        self._put, self._left = put, total
        self._pending = BytesIO()

    def gather(self, piece: memoryview) -> None:
        """Take a piece of less than CHUNK, which is copied before this returns."""
        if self._pending.tell() + len(piece) > CHUNK:
            self._flush()
        self._count(len(piece))
        self._pending.write(piece)

    def send(self, chunk: bytes) -> None:
        """Send a whole chunk after what was gathered."""
        self._flush()
        self._count(len(chunk))
        self._put(chunk)

    def finish(self) -> None:
        """Send the rest."""
        if self._left:
            raise ProtocolError("the program deals fewer bytes than its sizes say")
        self._flush()

    def _count(self, nbytes: int) -> None:
        if self._left is not None:
            self._left -= nbytes
            if self._left < 0:
                raise ProtocolError("the program deals more bytes than its sizes say")

    def _flush(self) -> None:
        if self._pending.tell():
            self._put(self._pending.getvalue())  # hands out its own bytes: no second copy
            self._pending = BytesIO()


def pack(packers: Sequence[Packer], buffer: Buffer) -> None:
    """Cut a buffer for all of `packers`: what is large is copied once, whoever gets it."""
    view = memoryview(buffer).cast("B")
    for offset in range(0, len(view), CHUNK):
        piece = view[offset : offset + CHUNK]
        chunk = bytes(piece) if len(piece) >= _SMALL else None
        for packer in packers:
            if chunk is None:
                packer.gather(piece)
            else:
                packer.send(chunk)
