"""How requests of one call are asked: each by itself, or as the steps of one session with covers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from privinf.equivariant import variants, wire
from privinf.equivariant.key import F64, Key
from privinf.equivariant.link import Link
from privinf.equivariant.replies import Outgoing, Replies
from privinf.equivariant.texts import Batch
from privinf.equivariant.wire import F32
from privinf.errors import InputError, ProtocolError
from privinf.v1 import equivariant_pb2 as pb


class Side(Protocol):
    """What covers requests: texts or images."""

    def query(self, batch: Batch, key: Key) -> pb.CoveredQuery: ...
    def step(self, batch: Batch, key: Key) -> pb.CoveredStep: ...
    def logits(self, rows: F32) -> F32: ...


class Asker(Protocol):
    """Gives a batch's plain rows, and counts what went over the wire."""

    sent: int
    received: int

    def __call__(self, batch: Batch) -> F32: ...


class Direct:
    """Every batch is a call of its own, under the one key."""

    def __init__(self, link: Link, side: Side, key: Key, timeout: float | None) -> None:
        self._link, self._side, self._key, self._timeout = link, side, key, timeout
        self.sent = self.received = 0

    def __call__(self, batch: Batch) -> F32:
        """Pooled rows, or logits."""
        about, query = self._key.about, self._side.query(batch, self._key)
        reply = self._link.query(about.task, query, self._timeout)
        self.sent, self.received = self.sent + query.ByteSize(), self.received + reply.ByteSize()
        embeds = about.task == "embed"
        width = about.server_width if embeds else len(about.labels)
        rows = read_reply(reply, (len(batch.places), width))
        return uncovered(rows, self._key.answer if embeds else self._key.labels)


class InSession:
    """Every batch is a step of one session; only the client knows what its rows come to."""

    def __init__(self, side: Side, key: Key, outgoing: Outgoing, replies: Replies) -> None:
        self._side, self._key, self._outgoing, self._replies = side, key, outgoing, replies
        self.sent = self.received = 0

    def __call__(self, batch: Batch) -> F32:
        """Pooled rows, or logits."""
        step, about = self._side.step(batch, self._key), self._key.about
        self._outgoing.put(step)
        reply = self._replies.take()
        if reply is None:
            raise ProtocolError("server: the session ended before its answer")
        self.sent, self.received = self.sent + step.ByteSize(), self.received + reply.ByteSize()
        rows = uncovered(read_reply(reply, (len(batch.places), about.server_width)), self._key.answer)
        return rows if about.task == "embed" else self._side.logits(rows)


@contextmanager
def asking(
    folder: Path, link: Link, side: Side, key: Key, timeout: float | None, *, local: bool
) -> Iterator[Asker]:
    """Give what asks: a session is opened for all that is asked within."""
    if not local:
        yield Direct(link, side, key, timeout)
        return
    with session(folder, link, timeout) as (variant, outgoing, replies):
        yield InSession(side, variant, outgoing, replies)


@contextmanager
def session(folder: Path, link: Link, timeout: float | None) -> Iterator[tuple[Key, Outgoing, Replies]]:
    """A session under covers that were never used before, and never will be again."""
    variant, outgoing, replies = open_session(folder, link, timeout)
    clean = False
    try:
        yield variant, outgoing, replies
        clean = True
    finally:
        close_session(outgoing, replies, clean)


def open_session(folder: Path, link: Link, timeout: float | None) -> tuple[Key, Outgoing, Replies]:
    """Mark a variant as used on disk, and only then tell the server of it."""
    link.connect()  # a server that cannot be reached, or is another's, costs no variant
    variant = Key.load(variants.take(folder))
    return variant, *link.session(pb.CoveredOpen(id=variant.about.id), timeout)


def close_session(outgoing: Outgoing, replies: Replies, clean: bool) -> None:
    """End a session; the server forgets it at once."""
    outgoing.end()
    replies.leave() if clean else replies.cancel()


def read_reply(message: pb.CoveredRows, shape: tuple[int, int]) -> F32:
    """What the server answered, if it has the right shape and holds numbers."""
    try:
        return wire.read_rows(message, shape, "the answer's rows")
    except InputError as error:
        raise ProtocolError(f"server: {error}") from None


def uncovered(rows: F32, cover: F64 | None) -> F32:
    """Plain rows."""
    if cover is None:
        return rows
    plain: npt.NDArray[np.float32] = (rows.astype(np.float64) @ cover).astype(np.float32)
    return plain
