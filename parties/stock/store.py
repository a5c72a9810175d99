"""Preparations on disk: received ahead of time, spent before the first byte is read, deleted with that."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from privinf.errors import ConfigError, MismatchError, Overloaded, ProtocolError
from privinf.parties.stock.record import SUFFIX, Record, file_bytes, read_record, spool_name
from privinf.parties.stock.spent import SpentLog
from privinf.parties.stock.spool import Preparation, Prepare, SpoolWriter
from privinf.protocols.contract import Identity, QueryShape, StockSizes

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(eq=False)
class Place:
    """Room for one preparation, from before it is asked for until it is stored."""

    room: int
    record: Record | None = None  # once its id is drawn
    burnt: bool = False
    writer: SpoolWriter = field(init=False, repr=False)

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
    """The preparations of one party, in a directory that this process alone may use."""

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        max_bytes: int,
        max_count: int,
        usable: Callable[[Record], bool] = lambda record: True,  # asked of what an earlier process left
    ) -> None:
        self._directory, self._identity = directory, identity
        self._max_bytes, self._max_count = max_bytes, max_count
        self._lock = threading.Lock()
        self._places: set[Place] = set()  # being received
        self._taken: dict[bytes, int] = {}  # bytes by id: stored or being read
        self._returned: deque[bytes] = deque()  # ids of those that the disk has back
        self._records: dict[bytes, Record] = {}  # complete and unspent
        self._lockfile = _own(directory)
        try:
            with _usable(directory):
                self._spent = SpentLog(directory / "spent.log")
                self._load(usable)
        except BaseException:
            os.close(self._lockfile)
            raise

    def usage(self) -> int:
        """Return the bytes taken by whatever is being received, stored or read, also if it has no name any more."""
        with self._lock:
            self._reclaim()
            return self._used()

    def held(self) -> list[Record]:
        """Return the complete, unspent preparations, oldest first."""
        with self._lock:
            return list(self._records.values())

    def coming(self) -> list[Record]:
        """Return what is being received."""
        with self._lock:
            return [place.record for place in self._places if place.record]

    def fits(self, nbytes: int) -> bool:
        """Return whether there is room now."""
        with self._lock:
            return self._refusal(nbytes) is None

    @contextlib.contextmanager
    def place(self, sizes: StockSizes) -> Iterator[Place]:
        """Take room for a preparation before anybody is asked for it, or raise Overloaded."""
        place = Place(file_bytes(sizes))
        with self._lock:
            if (refusal := self._refusal(place.room)) is not None:
                raise Overloaded(refusal)
            self._places.add(place)
        try:
            with _full_disk(), contextlib.closing(SpoolWriter(self._directory, sizes)) as place.writer:
                place.writer.take_room()
                yield place
        finally:
            with self._lock:
                self._places.discard(place)

    def receive(self, place: Place, record: Record, messages: Iterator[bytes], prepare: Prepare) -> Record:
        """Store the dealer's stream: a seed, exactly the bytes due, their digest. Nothing is left of a failed one.

        One that is burnt meanwhile fails at its next message. Nothing interrupts `prepare`, neither a burn nor a
        deadline: what is burnt while it runs keeps its room until it returns, and is dropped then.
        """
        with self._lock:
            self._name(place, record)
        complete = place.writer.fill(record, place.guard(messages), prepare)
        with self._lock:
            place.require_wanted()
            place.writer.publish(complete)
            self._records[record.preparation_id] = complete
            self._taken[record.preparation_id] = record.room
            self._places.discard(place)
        return complete

    def claim(self, preparation_id: bytes, shape: QueryShape) -> Preparation:
        """Spend a preparation and open it: when this returns, no process will ever open it again."""
        with self._lock:
            record = self._records.pop(preparation_id, None)
        if record is None and preparation_id in self._spent:
            raise ProtocolError("the preparation is already spent")
        if record is None:
            raise MismatchError("the preparation is not held here")
        try:
            with _full_disk():
                self._spent.mark(preparation_id)
            if record.shape != shape:
                raise MismatchError("the preparation is of another shape")
            return Preparation(self._directory, record, self._release)
        except BaseException:
            self._remove(preparation_id)
            raise

    def burn(self, preparation_ids: Iterable[bytes]) -> None:
        """Spend preparations unread: all of them, also if the disk fails for one.

        One that is still being received is never published; `receive` says when it ends.
        """
        with contextlib.ExitStack() as stack:
            for preparation_id in preparation_ids:
                stack.callback(self._burn, preparation_id)

    def close(self) -> None:
        """Let another process have the directory; what is stored stays, for it."""
        self._spent.close()
        os.close(self._lockfile)

    def _burn(self, preparation_id: bytes) -> None:
        with self._lock:
            stored = self._records.pop(preparation_id, None) is not None
            place = self._named().get(preparation_id)
            fresh = stored or (place is not None and not place.burnt)
            if place is not None:
                place.burnt = True
        try:
            if fresh:
                with _full_disk():
                    self._spent.mark(preparation_id)
        finally:
            if stored:
                self._remove(preparation_id)

    def _refusal(self, nbytes: int) -> str | None:
        self._reclaim()
        if len(self._taken) + len(self._places) >= self._max_count:
            return f"the store already holds {self._max_count} preparations"
        if self._used() + nbytes > self._max_bytes:
            return f"{nbytes} bytes of preparation do not fit into the store"
        return None

    def _name(self, place: Place, record: Record) -> None:
        self._reclaim()
        taken = record.preparation_id in self._taken or record.preparation_id in self._named()
        if taken or record.preparation_id in self._spent:
            raise ProtocolError("this preparation is already spent, or here")
        place.record = record

    def _named(self) -> dict[bytes, Place]:
        return {place.record.preparation_id: place for place in self._places if place.record}

    def _used(self) -> int:
        return sum(self._taken.values()) + sum(place.room for place in self._places)

    def _release(self, preparation_id: bytes) -> None:
        """Note that a preparation's room is free: without the lock, as a finaliser may say so at any time."""
        self._returned.append(preparation_id)

    def _reclaim(self) -> None:
        while self._returned:
            self._taken.pop(self._returned.popleft(), None)

    def _remove(self, preparation_id: bytes) -> None:
        (self._directory / spool_name(preparation_id)).unlink(missing_ok=True)
        self._release(preparation_id)

    def _load(self, usable: Callable[[Record], bool]) -> None:
        """Keep what an earlier process completed and never touched; delete everything else."""
        for path in sorted(self._directory.glob(f"*{SUFFIX}*"), key=lambda path: path.stat().st_mtime_ns):
            record = read_record(path, self._identity)
            fits = self.usage() + (record.room if record else 0) <= self._max_bytes
            if record is None or record.preparation_id in self._spent or not fits or not usable(record):
                path.unlink()
                continue
            self._records[record.preparation_id] = record
            self._taken[record.preparation_id] = record.room


def _own(directory: Path) -> int:
    """Make the directory private and lock it: two processes would spend the same preparation twice."""
    with _usable(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"the store {directory} is in use by another process") from error
    return descriptor


@contextlib.contextmanager
def _usable(directory: Path) -> Iterator[None]:
    """Say what to do about a folder that the disk does not let a party start with."""
    try:
        yield
    except OSError as error:
        todo = ": free space on its disk, or set another store" if error.errno in _FULL else ""
        raise ConfigError(f"the store {directory} cannot be used: {error.strerror}{todo}") from error


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Overloaded("the disk of the preparation store is full") from error
        raise
