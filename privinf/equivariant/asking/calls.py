"""How requests of one call are asked: each by itself, or as the steps of one session with covers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from privinf.equivariant import variants, wire
from privinf.equivariant.asking.images import ImageSide
from privinf.equivariant.asking.link import Link
from privinf.equivariant.asking.replies import Replies
from privinf.equivariant.asking.texts import Batch, TextSide
from privinf.equivariant.key import F64, Key, KeyAbout
from privinf.equivariant.wire import F32
from privinf.errors import InputError, IntegrityError, ProtocolError
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.outgoing import Outgoing
from privinf.sdk.call import Call
from privinf.sdk.patience import patiently
from privinf.v1 import equivariant_pb2 as pb

LARGEST = 1e18  # uncovering and a head stay far within float32
OF_ALL_VARIANTS = ("level", "family", "task", "model", "vocab", "width", "context", "labels")


class Opened(NamedTuple):
    """A session under a cover that was never used before, and never will be again."""

    key: Key
    outgoing: Outgoing[pb.CoveredStep]
    replies: Replies[pb.CoveredRows]

    def answer(self, step: pb.CoveredStep, seconds: float | None = None) -> pb.CoveredRows:
        """What the server makes of a step, in so many seconds."""
        self.outgoing.put(step)
        if (reply := self.replies.take(seconds)) is None:
            raise ProtocolError("server: the session ended before its answer")
        return reply

    def end(self, clean: bool) -> None:
        """End it; the server forgets it at once."""
        self.outgoing.put(None)
        self.replies.leave() if clean else self.replies.cancel()

    def cancel(self) -> None:
        """Drop it."""
        self.end(False)


Requests = TextSide | ImageSide


class Direct:
    """Every batch is a call of its own, under the one key."""

    def __init__(self, link: Link, side: Requests, key: Key, call: Call) -> None:
        self._link, self._side, self._key, self._call = link, side, key, call
        self.sent = self.received = 0

    def __call__(self, batch: Batch) -> F32:
        """Pooled rows, or logits."""
        about, query = self._key.about, self._side.query(batch, self._key)
        reply = self._link.query(about.task, query, self._call)
        self.sent, self.received = self.sent + query.ByteSize(), self.received + reply.ByteSize()
        embeds = about.task == "embed"
        width = about.server_width if embeds else len(about.labels)
        rows = read_reply(reply, (len(batch.places), width))
        return uncovered(rows, self._key.answer if embeds else self._key.labels)


class InSession:
    """Every batch is a step of one session, each answered in so many seconds; the client computes the rest."""

    def __init__(self, side: Requests, opened: Opened, seconds: float) -> None:
        self._side, self._opened, self._seconds = side, opened, seconds
        self.sent = self.received = 0

    def __call__(self, batch: Batch) -> F32:
        """Pooled rows, or logits."""
        key = self._opened.key
        step, about = self._side.step(batch, key), key.about
        reply = self._opened.answer(step, self._seconds)
        self.sent, self.received = self.sent + step.ByteSize(), self.received + reply.ByteSize()
        rows = uncovered(read_reply(reply, (len(batch.places), about.server_width)), key.answer)
        return rows if about.task == "embed" else self._side.logits(rows)


Answering = Direct | InSession  # gives a batch's plain rows, and counts what went over the wire


@contextmanager
def asking(
    folder: Path, link: Link, side: Requests, key: Key, call: Call, *, local: bool
) -> Iterator[Answering]:
    """Give what asks: a session is opened for all that is asked within."""
    if not local:
        yield Direct(link, side, key, call)
        return
    seconds, clean = link.seconds(call.timeout), False
    opened = open_session(folder, link, key.about, call, None, seconds)
    try:
        yield InSession(side, opened, seconds)
        clean = True
    finally:
        opened.end(clean)


def open_session(
    folder: Path, link: Link, key: KeyAbout, call: Call, timeout: float | None, patience: float | None = None
) -> Opened:
    """Mark a variant as used on disk, tell the server of it, and wait until it has found that it is new.

    One that the server has no room for is opened again: it has not looked at it. Until it has, no row is sent:
    of a client's folder that was copied or restored, it may have seen some under this cover.
    """
    until = link.until(call, timeout)  # a server that cannot be reached, or is another's, costs no variant
    variant = Key.load(variants.take(folder))
    require_variant(variant, key)
    waits = until if patience is None else Deadline(min(until.at, Deadline.after(patience).at))
    return patiently(lambda: _opened(link, variant, until, waits, call), waits, call.sleep)


def _opened(link: Link, variant: Key, until: Deadline, waits: Deadline, call: Call) -> Opened:
    opened = call.begun(Opened(variant, *link.session(pb.CoveredOpen(id=variant.about.id), until)))
    try:
        if opened.replies.take(waits.left("connect")) is None:
            raise ProtocolError("server: the session ended before it began")
    except BaseException:
        opened.cancel()
        raise
    return opened


def require_variant(variant: Key, key: KeyAbout) -> None:
    """Refuse a variant that was made with another conversion's client."""
    same = all(getattr(variant.about, name) == getattr(key, name) for name in OF_ALL_VARIANTS)
    if not same or variant.hidden is None:
        raise IntegrityError("the variants do not belong to this key: copy the whole client folder again")


def read_reply(message: pb.CoveredRows, shape: tuple[int, int]) -> F32:
    """What the server answered, if it has the right shape and holds numbers that a model may give."""
    try:
        rows = wire.read_rows(message, shape, "the answer's rows")
    except InputError as error:
        raise ProtocolError(f"server: {error}") from None
    if np.abs(rows).max(initial=0) > LARGEST:
        raise ProtocolError(
            f"server: the answer's rows hold numbers beyond {LARGEST:g}, which no model gives"
        )
    return rows


def uncovered(rows: F32, cover: F64 | None) -> F32:
    """Plain rows."""
    if cover is None:
        return rows
    plain: npt.NDArray[np.float32] = (rows.astype(np.float64) @ cover).astype(np.float32)
    return plain
