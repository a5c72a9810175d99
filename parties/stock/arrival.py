"""A preparation as it arrives: stored and digested by one thread, while the program computes ahead in another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from privinf.errors import PeerLost, ProtocolError
from privinf.parties.stock.digest import PRECOMPUTED, Tally
from privinf.parties.stock.mapped import Mapping
from privinf.parties.stock.record import Record
from privinf.parties.stock.room import Room
from privinf.protocols.contract import Source

Prepare = Callable[[Source, bytes, memoryview], None]  # a program's stage: preparation, seed, what to fill


def fill(room: Room, record: Record, messages: Iterator[bytes], prepare: Prepare) -> Record:
    """Store what the dealer sends, the program preparing behind it; return what is known when both are done.

    What the program sees is not compared yet, and nothing of it leaves: a half whose digest turns out to be another is
    dropped with all that was computed of it.
    """
    began = time.monotonic()
    seed = next(messages, b"")
    tally, nbytes = Tally(seed), record.sizes.preparation
    if record.sizes.precomputed:
        with Preparing(room.coming(), nbytes, prepare, seed) as ahead:
            _store(room, nbytes, messages, tally, ahead.came)
        tags = tally.tags() + ahead.tags
    else:
        _store(room, nbytes, messages, tally, lambda nbytes: None)
        tags = tally.tags()
    return replace(record, seed=seed, tags=tags, prepare_seconds=time.monotonic() - began)


def _store(
    room: Room, nbytes: int, messages: Iterator[bytes], tally: Tally, came: Callable[[int], None]
) -> None:
    """Store exactly the bytes due, and compare them with the digest that ends them."""
    for message in _due(nbytes, messages):
        room.write(message)
        came(len(message))
        tally.update(message)  # behind the program, which may go on meanwhile
    tally.compare(next(messages, b""))
    if next(messages, None) is not None:
        raise ProtocolError(f"the dealer sent more than the {nbytes} bytes of this preparation")


def _due(nbytes: int, messages: Iterator[bytes]) -> Iterator[bytes]:
    """Pass on what makes up so many bytes, and no message more."""
    left = nbytes
    while left:
        message = next(messages, None)
        if message is None:
            raise ProtocolError(f"the dealer sent {nbytes - left} of {nbytes} bytes")
        if not message:
            raise ProtocolError("the dealer sent an empty message")
        left -= len(message)
        if left < 0:
            raise ProtocolError(f"the dealer sent more than the {nbytes} bytes of this preparation")
        yield message


class Preparing:
    """The program's stage in a thread of its own: what it reads has come, or is waited for.

    Leaving it waits for the program. Whichever of the two fails ends the other at its next message or read.
    """

    def __init__(self, mapping: Mapping, nbytes: int, prepare: Prepare, seed: bytes) -> None:
        self._mapping, self._left = mapping, nbytes
        self._prepare, self._seed = prepare, seed
        self._changed = threading.Condition()
        self._here = self._wanted = 0  # bytes that have come and are not read; that a read waits for
        self._over = False  # no more will come
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self.tags = b""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()
        if error is None and self._error is None:
            self._mapping.close()
            return
        self._mapping.erase(lambda: None)
        if error is None and self._error is not None:
            raise self._error

    def came(self, nbytes: int) -> None:
        """So many more bytes lie in their place; or raise what the program failed with."""
        with self._changed:
            self._here += nbytes
            if 0 < self._wanted <= self._here:  # not for each message: a gate's keys come in many
                self._changed.notify_all()
            if self._error is not None:
                raise self._error

    def read(self, nbytes: int) -> memoryview:
        """Return the program's next bytes, in place, once they are there."""
        with self._changed:
            if 0 <= nbytes <= self._left:  # others the mapping refuses
                self._wanted = nbytes
                self._changed.wait_for(lambda: self._here >= nbytes or self._over)
                self._wanted = 0
                if self._here < nbytes:
                    raise PeerLost("a preparation ended before its program")
                self._here, self._left = self._here - nbytes, self._left - nbytes
        return self._mapping.read(nbytes)

    def _run(self) -> None:
        try:
            self._prepare(self, self._seed, self._mapping.precomputed)
            tally = Tally(self._seed, PRECOMPUTED)
            tally.update(self._mapping.precomputed)
            self.tags = tally.tags()
        except BaseException as error:  # handed to whoever stores
            with self._changed:
                self._error = error
