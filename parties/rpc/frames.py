"""The frames that two parties exchange in a session: one header of 48 bytes before every message.

    magic 4 | kind 1 | sender 1 | flags 2 | round 4 | part 4 | session 16 | length 8 | offset 8

Little-endian. A round has one part or several, each a frame that is sent as soon as it is known; a control frame bears
the number of the last round before it, or 0 where it drops a preparation. `length` is that of the whole payload,
`offset` where this message's piece of it begins; every piece but the last has CHUNK bytes. 48 keeps a payload in one
message aligned to 16 bytes: it is read where it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum

from privinf.errors import DamagedPreparation, ProtocolError
from privinf.protocols.contract import ID_BYTES, Buffer

MAGIC = b"PVI\x02"  # the last byte is the version of this layout
HEADER = struct.Struct("<4sBBHII16sQQ")
CHUNK = 1 << 20
CONTROL_LIMIT = 4096  # the largest payload of a frame that opens or begins a session, or a pass


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1  # identity and shape, from both
    BEGIN = 2  # the preparation's id, from party 0
    DATA = 3  # a round
    PASS = 4  # which pass of a generation begins, from both
    DAMAGED = 5  # the preparation of this session cannot be used: from both, as soon as one finds it


class FrameWriter:
    """Cuts payloads into messages and hands them to `send`, which must not block."""

    def __init__(self, send: Callable[[bytes], None], session: bytes, sender: int) -> None:
        self._send, self._session, self._sender = send, session, sender
        self.payload_bytes = 0  # of rounds
        self.wire_bytes = 0  # of everything, headers too

    def write(self, kind: Kind, round_: int, payload: Buffer, part: int = 0) -> None:
        """Send one frame; the payload is copied before this returns."""
        view = memoryview(payload).cast("B")
        for offset in range(0, max(len(view), 1), CHUNK):
            header = HEADER.pack(MAGIC, kind, self._sender, 0, round_, part, self._session, len(view), offset)
            message = b"".join((header, view[offset : offset + CHUNK]))
            self.wire_bytes += len(message)
            self._send(message)
        if kind is Kind.DATA:
            self.payload_bytes += len(view)


class FrameReader:
    """Reassembles the peer's frames and refuses whatever is not exactly the next one."""

    def __init__(self, messages: Iterator[bytes], session: bytes, sender: int) -> None:
        if len(session) != ID_BYTES:
            raise ProtocolError(f"a session id has {ID_BYTES} bytes, not {len(session)}")
        self._messages, self._session, self._sender = messages, session, sender
        self.told = False  # that the preparation is dropped

    def read(self, kind: Kind, round_: int, expect: int | None = None, part: int = 0) -> memoryview:
        """Return the payload of the next frame; `expect` may be left out for a control frame alone."""
        message = self._next(round_)
        length = self._check(message, kind, round_, part, 0)
        if expect is None and length > CONTROL_LIMIT:
            raise ProtocolError(f"round {round_}: {length} bytes where at most {CONTROL_LIMIT} may come")
        if expect is not None and length != expect:
            raise ProtocolError(f"round {round_}: {length} bytes where {expect} were expected")
        piece = _piece(message, length, 0, round_)
        return piece if len(piece) == length else self._assemble(piece, kind, round_, part, length)

    def skip(self) -> None:
        """Read on, over what was sent for a preparation that is dropped, to where the peer says so too."""
        message = b""
        while not self.told:
            message = self._next(0)
            self.told = kind_of(message) is Kind.DAMAGED
        if message:
            self._check(message, Kind.DAMAGED, 0, 0, 0)
        self.told = False

    def _assemble(self, first: memoryview, kind: Kind, round_: int, part: int, length: int) -> memoryview:
        whole = memoryview(bytearray(length))
        whole[: len(first)] = first
        for offset in range(len(first), length, CHUNK):
            message = self._next(round_)
            if self._check(message, kind, round_, part, offset) != length:
                raise ProtocolError(f"round {round_}: the length changed within a frame")
            piece = _piece(message, length, offset, round_)
            whole[offset : offset + len(piece)] = piece
        return whole

    def _next(self, round_: int) -> bytes:
        message = next(self._messages, None)
        if message is None:
            raise ProtocolError(f"round {round_}: the stream ended where a frame was due")
        return message

    def _check(self, message: bytes, kind: Kind, round_: int, part: int, offset: int) -> int:
        """Check a header against what must come next, of this round and part; return the whole payload's length."""
        if len(message) < HEADER.size:
            raise ProtocolError(f"round {round_}: a message of {len(message)} bytes has no header")
        magic, got_kind, sender, flags, got_round, got_part, session, length, got_offset = HEADER.unpack_from(
            message
        )
        for field, got, due in (
            ("magic", magic, MAGIC),
            ("session", session, self._session),
            ("sender", sender, self._sender),
            ("kind", got_kind, int(kind)),
            ("round", got_round, round_),
            ("part", got_part, part),
            ("flags", flags, 0),
            ("offset", got_offset, offset),
        ):
            if got != due and (field, got) == ("kind", Kind.DAMAGED):
                self.told = True
                raise DamagedPreparation("the other party found its half of the preparation changed")
            if got != due:
                numbers = f" ({got} for {due})" if isinstance(got, int) and isinstance(due, int) else ""
                raise ProtocolError(f"round {round_}: a frame with the wrong {field}{numbers}")
        return int(length)


def peek_session(message: bytes) -> bytes:
    """Return the session id of a first message, not yet checked."""
    if len(message) < HEADER.size or message[:4] != MAGIC:
        raise ProtocolError("the first message of a session is not a frame")
    return bytes(HEADER.unpack_from(message)[6])


def kind_of(message: bytes) -> Kind | None:
    """Return what a message says that it is; None for what is no frame."""
    known = {int(kind): kind for kind in Kind}
    return known.get(message[4]) if len(message) >= HEADER.size and message[:4] == MAGIC else None


def _piece(message: bytes, length: int, offset: int, round_: int) -> memoryview:
    piece = memoryview(message)[HEADER.size :]
    if len(piece) != min(CHUNK, length - offset):
        raise ProtocolError(f"round {round_}: a truncated or overlong message at offset {offset}")
    return piece
