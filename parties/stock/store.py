"""Preparations that a party holds, on disk or in memory: received, spent before the first byte is read, then gone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from privinf.errors import MismatchError, Overloaded, ProtocolError
from privinf.parties.stock.arrival import Prepare, fill
from privinf.parties.stock.directory import full_disk, own, usable_folder
from privinf.parties.stock.pages import Pages
from privinf.parties.stock.record import SUFFIX, Record, file_bytes, read_record, spool_name
from privinf.parties.stock.room import InMemory, Limits, OnDisk, Room, opened
from privinf.parties.stock.spent import SpentLog
from privinf.parties.stock.spool import Preparation
from privinf.protocols.contract import Identity, QueryShape, StockSizes

_REMEMBERED = 1024  # ids that a query may still name when the other party has given them up


@dataclass(eq=False)
class Place:
    """Room for one preparation, from before it is asked for until it is given back."""

    nbytes: int
    in_memory: bool = False
    record: Record | None = None  # once its id is drawn
    burnt: bool = False
    room: Room | None = field(default=None, repr=False)  # none of what an earlier process wrote

    def require_wanted(self) -> None:
        """Refuse to go on with what was burnt meanwhile."""
        if self.burnt:
            raise ProtocolError("this preparation was given up while it came")

    def guard(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        """Pass messages on while they are wanted."""
        for message in messages:
            self.require_wanted()
            yield message


class PreparationStore:
    """The preparations of one party, with a directory that this process alone may use."""

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        limits: Limits,
        usable: Callable[[Record], bool] = lambda record: True,  # asked of what an earlier process left
    ) -> None:
        self._directory, self._identity, self._limits = directory, identity, limits
        self._lock = threading.Lock()
        self._coming: set[Place] = set()  # being received
        self._taken: dict[bytes, Place] = {}  # by id: stored or being read
        self._returned: deque[bytes] = deque()  # ids of those whose room is free again
        self._records: dict[bytes, Record] = {}  # complete and unspent
        self._given_up: deque[bytes] = deque(maxlen=_REMEMBERED)  # burnt of late
        self.pages = Pages(limits.in_memory)
        self._lockfile = own(directory)
        try:
            with usable_folder(directory):
                self._spent = SpentLog(directory / "spent.log")
                self._load(usable)
        except BaseException:
            os.close(self._lockfile)
            raise

    def usage(self, in_memory: bool = False) -> int:
        """Return the bytes taken by whatever is being received, stored or read, of all or of what lies in memory.

        What is being read counts, also if it has no name any more.
        """
        with self._lock:
            self._reclaim()
            return self._used(in_memory)

    def held(self) -> list[Record]:
        """Return the complete, unspent preparations, oldest first."""
        with self._lock:
            return list(self._records.values())

    def coming(self) -> list[Record]:
        """Return what is being received."""
        with self._lock:
            return [place.record for place in self._coming if place.record]

    def fits(self, nbytes: int) -> bool:
        """Return whether there is room now."""
        with self._lock:
            return self._refusal(nbytes) is None

    @contextlib.contextmanager
    def place(self, sizes: StockSizes) -> Iterator[Place]:
        """Take room for a preparation before anybody is asked for it, or raise Overloaded."""
        place = Place(file_bytes(sizes))
        with self._lock:
            if (refusal := self._refusal(place.nbytes)) is not None:
                raise Overloaded(refusal)
            self._coming.add(place)
        try:
            with full_disk(), contextlib.ExitStack() as stack:
                place.room = self._room(place, sizes)
                stack.callback(place.room.close)
                place.room.take()
                yield place
        finally:
            with self._lock:
                self._coming.discard(place)

    def receive(self, place: Place, record: Record, messages: Iterator[bytes], prepare: Prepare) -> Record:
        """Store the dealer's stream: a seed, exactly the bytes due, their digest. Nothing is left of a failed one.

        One that is burnt meanwhile fails at its next message, or when the program has prepared; it keeps its room
        until then.
        """
        assert place.room is not None
        with self._lock:
            self._name(place, record)
        complete = fill(place.room, record, place.guard(messages), prepare)
        with self._lock:
            place.require_wanted()
            place.room.publish(complete)
            self._records[record.preparation_id] = complete
            self._taken[record.preparation_id] = place
            self._coming.discard(place)
        return complete

    def claim(self, preparation_id: bytes, shape: QueryShape) -> Preparation:
        """Spend a preparation and open it: when this returns, no process will ever open it again."""
        with self._lock:
            record, place = self._records.pop(preparation_id, None), self._taken.get(preparation_id)
        if record is None and preparation_id in self._given_up:  # unread: whoever asks may take another
            raise MismatchError("the preparation was given up")
        if record is None and preparation_id in self._spent:
            raise ProtocolError("the preparation is already spent")
        if record is None or place is None:
            raise MismatchError("the preparation is not held here")
        try:
            self._mark(preparation_id, place)
            if record.shape != shape:
                raise MismatchError("the preparation is of another shape")
            room = place.room
            mapping = room.opened() if isinstance(room, InMemory) else opened(self._directory, record)
            return Preparation(record, mapping, self._release)
        except BaseException:
            self._remove(preparation_id, place)
            raise

    def burn(self, preparation_ids: Iterable[bytes]) -> None:
        """Spend preparations unread: all of them, also if the disk fails for one.

        One that is still being received is never published; `receive` says when it ends.
        """
        with contextlib.ExitStack() as stack:
            for preparation_id in preparation_ids:
                stack.callback(self._burn, preparation_id)

    def close(self) -> None:
        """Let another process have the directory; what is stored there stays, for it."""
        self._spent.close()
        os.close(self._lockfile)

    def _room(self, place: Place, sizes: StockSizes) -> Room:
        """Say where it lies: in memory where there is enough of that."""
        if place.nbytes <= self._limits.in_memory_each:
            whole = self.pages.take(place.nbytes)
            if whole is not None:
                place.in_memory = True
                return InMemory(sizes, self.pages, whole)
        return OnDisk(self._directory, sizes)

    def _burn(self, preparation_id: bytes) -> None:
        with self._lock:
            stored = self._records.pop(preparation_id, None) is not None
            place = self._taken.get(preparation_id) if stored else self._named().get(preparation_id)
            if place is None or place.burnt:
                return
            place.burnt = True
            self._given_up.append(preparation_id)
        try:
            self._mark(preparation_id, place)
        finally:
            if stored:
                self._remove(preparation_id, place)

    def _mark(self, preparation_id: bytes, place: Place) -> None:
        """Spend an id. What lies in memory dies with this process: no disk has to have its id before it is read."""
        with full_disk():
            self._spent.mark(preparation_id, forced=not place.in_memory)

    def _refusal(self, nbytes: int) -> str | None:
        self._reclaim()
        if len(self._taken) + len(self._coming) >= self._limits.count:
            return f"the store already holds {self._limits.count} preparations"
        if self._used() + nbytes > self._limits.nbytes:
            return f"{nbytes} bytes of preparation do not fit into the store"
        return None

    def _name(self, place: Place, record: Record) -> None:
        self._reclaim()
        taken = record.preparation_id in self._taken or record.preparation_id in self._named()
        if taken or record.preparation_id in self._spent:
            raise ProtocolError("this preparation is already spent, or here")
        place.record = record

    def _named(self) -> dict[bytes, Place]:
        return {place.record.preparation_id: place for place in self._coming if place.record}

    def _used(self, in_memory: bool = False) -> int:
        places = (*self._taken.values(), *self._coming)
        return sum(place.nbytes for place in places if place.in_memory or not in_memory)

    def _release(self, preparation_id: bytes) -> None:
        """Note that a preparation's room is free: without the lock, as a finaliser may say so at any time."""
        self._returned.append(preparation_id)

    def _reclaim(self) -> None:
        while self._returned:
            self._taken.pop(self._returned.popleft(), None)

    def _remove(self, preparation_id: bytes, place: Place) -> None:
        if isinstance(place.room, InMemory):
            place.room.erase()
        (self._directory / spool_name(preparation_id)).unlink(missing_ok=True)
        self._release(preparation_id)

    def _load(self, usable: Callable[[Record], bool]) -> None:
        """Keep what an earlier process completed and never touched; delete everything else."""
        for path in sorted(self._directory.glob(f"*{SUFFIX}*"), key=lambda path: path.stat().st_mtime_ns):
            record = read_record(path, self._identity)
            fits = self.usage() + (record.room if record else 0) <= self._limits.nbytes
            if record is None or record.preparation_id in self._spent or not fits or not usable(record):
                path.unlink()
                continue
            self._records[record.preparation_id] = record
            self._taken[record.preparation_id] = Place(record.room, record=record)
