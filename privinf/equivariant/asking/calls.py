"""How requests of one call are asked: each by itself, or as the steps of one session with covers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

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
M = TypeVar("M", bound=pb.CoveredQuery | pb.CoveredStep)


class Asking(Generic[M]):
    """Asks batch after batch, each by itself or as a step of a session, and counts what goes over the wire."""

    def __init__(
        self, side: Requests, key: Key, ask: Callable[[Batch, Key], M], answer: Callable[[M], pb.CoveredRows]
    ) -> None:
        self._own, self._key, self._ask, self._answer = side.own, key, ask, answer
        self.queries = self.sent = self.received = 0

    def __call__(self, batch: Batch) -> F32:
        """Pooled rows, or logits: in a session the client computes them itself."""
        about, message = self._key.about, self._ask(batch, self._key)
        reply = self._answer(message)
        self.queries += 1
        self.sent, self.received = self.sent + message.ByteSize(), self.received + reply.ByteSize()
        hidden = about.task == "embed" or self._own is not None
        width = about.server_width if hidden else len(about.labels)
        rows = read_reply(reply, (len(batch.places), width))
        rows = uncovered(rows, self._key.answer if hidden else self._key.labels)
        return rows if self._own is None or about.task == "embed" else self._own.logits(rows)


@contextmanager
def asking(
    folder: Path, link: Link, side: Requests, key: Key, call: Call
) -> Iterator[Asking[pb.CoveredQuery] | Asking[pb.CoveredStep]]:
    """Give what asks, under the one key or in a session that is opened for all that is asked within."""
    if side.own is None:
        yield Asking(side, key, side.query, partial(link.query, key.about.task, call=call))
        return
    seconds, clean = link.seconds(call.timeout), False
    opened = open_session(folder, link, key.about, call, None, seconds)
    try:
        yield Asking(side, opened.key, side.step, partial(opened.answer, seconds=seconds))
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
    if replace(variant.about, id=key.id, own_sha256=key.own_sha256) != key or variant.hidden is None:
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
    return rows if cover is None else (rows.astype(np.float64) @ cover).astype(np.float32)
