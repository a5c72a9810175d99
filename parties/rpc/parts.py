"""Messages that may be larger than one of gRPC's: cut on one side, put together on the other.

Each part is a byte, 1 before the last of a message and 0 before any other, and its piece: every piece but the last has
CHUNK bytes, so that what is held is bounded by what has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, Self, TypeVar

from google.protobuf.message import DecodeError, Message

from privinf.errors import PeerLost, ProtocolError
from privinf.parties.rpc.frames import CHUNK

WHOLE_LIMIT: Final = 64 << 20  # of a message in parts, such as a share of an answer
_MORE, _LAST = b"\x00", b"\x01"

M = TypeVar("M", bound=Message)


def cut(whole: bytes) -> Iterator[bytes]:
    """Cut one message."""
    view = memoryview(whole)
    for offset in range(0, max(len(view), 1), CHUNK):
        mark = _LAST if offset + CHUNK >= len(view) else _MORE
        yield b"".join((mark, view[offset : offset + CHUNK]))


def join(parts: Iterable[bytes], limit: int = WHOLE_LIMIT) -> Iterator[bytes]:
    """Put messages together; raise ProtocolError for what is no part, or too many of them."""
    held = bytearray()
    for part in parts:
        mark, size = part[:1], len(part) - 1
        if mark not in (_MORE, _LAST) or size > CHUNK or (mark == _MORE and size != CHUNK):
            raise ProtocolError("no part of a message where one was due")
        require_size(len(held) + size, limit)
        if mark == _LAST and not held:
            yield part[1:]
            continue
        held += memoryview(part)[1:]
        if mark == _LAST:
            yield _taken(held)
    if held:
        raise ProtocolError("the stream ended within a message")


def filled(nbytes: int, what: str, chunks: Iterator[bytes | None]) -> memoryview:
    """Return a share of exactly `nbytes`, as its chunks come; it is writable, and aligned as an allocation is."""
    whole, at = memoryview(bytearray(nbytes)), 0
    while at < nbytes:
        chunk = next(chunks, None)
        if chunk is None:
            raise ProtocolError(f"a share of this {what} has {nbytes} bytes, not {at}")
        if len(chunk) > nbytes - at:
            raise ProtocolError(f"a share of this {what} has {nbytes} bytes, no more")
        due = min(CHUNK, nbytes - at)
        if len(chunk) != due:  # small ones would hold a place as long as they come
            raise ProtocolError(f"a chunk of {len(chunk)} bytes where {due} were due")
        whole[at : at + len(chunk)] = chunk
        at += len(chunk)
    return whole


def require_size(size: int, limit: int) -> None:
    """Refuse a message that is larger than it may be."""
    if size > limit:
        raise ProtocolError(f"a message over the size limit of {limit} bytes")


def _taken(held: bytearray) -> bytes:
    """What is held, which is then held no more."""
    whole = bytes(held)
    held.clear()
    return whole


def parse(kind: type[M], encoded: bytes) -> M:
    """Return a message from the wire.

    Never within gRPC: it keeps some 16 KB of each that its own call of a parser fails on.
    """
    try:
        return kind.FromString(encoded)
    except DecodeError as error:
        raise ProtocolError(f"a message that is no {kind.DESCRIPTOR.name}") from error


class Joined(Generic[M]):
    """A call whose replies come in parts, as its maker sees it: an iterator over whole replies."""

    def __init__(self, call: Any, kind: type[M]) -> None:
        self._call, self._kind = call, kind
        self._whole = join(call)
        self.cancel: Callable[[], Any] = call.cancel
        self.add_done_callback: Callable[[Callable[[Any], None]], None] = call.add_done_callback

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> M:
        try:
            return parse(self._kind, next(self._whole))
        except ProtocolError:
            self._call.cancel()
            raise

    def result(self) -> M:
        """Wait for the one reply of a call that has one."""
        reply = next(self, None)
        if reply is None:
            raise PeerLost("the call ended without its reply")
        return reply


class PartsCall(Generic[M]):
    """Makes a call whose requests, replies or both come in parts."""

    def __init__(
        self, make: Any, kind: type[M], requests: Callable[[Any], Iterable[bytes]], one: bool
    ) -> None:
        self._make, self._kind, self._requests, self._one = make, kind, requests, one

    def __call__(self, request: Any, **how: Any) -> M | Joined[M]:
        """Make it; wait for its reply if there is but one."""
        call = self.future(request, **how)
        return call.result() if self._one else call

    def future(self, request: Any, **how: Any) -> Joined[M]:
        """Make it without waiting."""
        return Joined(self._make(self._requests(request), **how), self._kind)


def wire(message: Message | bytes, in_parts: bool) -> Iterable[bytes]:
    """Return a message as it goes over the wire."""
    whole = message if isinstance(message, bytes) else message.SerializeToString()
    return cut(whole) if in_parts else [whole]
