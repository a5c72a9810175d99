"""Preparations on disk: received ahead of time, spent before the first byte is read, deleted with that."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from privinf.errors import ConfigError, MismatchError, Overloaded, ProtocolError
from privinf.parties.spent import SpentLog
from privinf.parties.spool import SUFFIX, Preparation, Record, SpoolWriter, read_record, spool_name
from privinf.protocols.program import SEED_BYTES, Identity, QueryShape

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Usage:
    """How much of the store is taken, by whatever is being received, stored or read."""

    count: int
    nbytes: int


class PreparationStore:
    """The preparations of one party, in a directory that this process alone may use."""

    def __init__(self, directory: Path, identity: Identity, max_bytes: int, max_count: int) -> None:
        self._directory, self._identity = directory, identity
        self._max_bytes, self._max_count = max_bytes, max_count
        self._lock = threading.Lock()
        self._taken: dict[bytes, int] = {}  # bytes by id: received, stored or being read
        self._records: dict[bytes, Record] = {}  # complete and unspent
        self._lockfile = _own(directory)
        self._spent = SpentLog(directory / "spent.log")
        self._load()

    def usage(self) -> Usage:
        """Return what is taken."""
        with self._lock:
            return Usage(len(self._taken), sum(self._taken.values()))

    def held(self, shape: QueryShape | None = None) -> list[Record]:
        """Return the complete, unspent preparations of a shape, or all, oldest first."""
        with self._lock:
            return [record for record in self._records.values() if shape in (None, record.shape)]

    def receive(self, record: Record, messages: Iterator[bytes]) -> Record:
        """Store the dealer's stream: a seed, then exactly the bytes due. Nothing is left of a failed one."""
        with self._reserved(record), _full_disk():
            with SpoolWriter(self._directory, record) as writer:
                seed = next(messages, b"")
                if len(seed) != SEED_BYTES:
                    raise ProtocolError(f"the dealer's seed has {len(seed)} bytes, not {SEED_BYTES}")
                for message in messages:
                    writer.write(message)
                complete = writer.finish(seed)
            with self._lock:
                self._records[record.preparation_id] = complete
        return complete

    def claim(self, preparation_id: bytes, shape: QueryShape) -> Preparation:
        """Spend a preparation and open it: when this returns, no process will ever open it again."""
        with self._lock:
            record = self._records.pop(preparation_id, None)
        if record is None:
            spent = preparation_id in self._spent
            raise (ProtocolError if spent else MismatchError)(
                f"the preparation is {'already spent' if spent else 'not held here'}"
            )
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
        """Spend preparations unread."""
        for preparation_id in preparation_ids:
            with self._lock:
                record = self._records.pop(preparation_id, None)
            if record is not None:
                self._spent.mark(preparation_id)
                self._remove(preparation_id)

    def close(self) -> None:
        """Let another process have the directory; what is stored stays, for it."""
        self._spent.close()
        os.close(self._lockfile)

    @contextlib.contextmanager
    def _reserved(self, record: Record) -> Iterator[None]:
        self._reserve(record)
        try:
            yield
        except BaseException:
            self._release(record.preparation_id)
            raise

    def _reserve(self, record: Record) -> None:
        with self._lock:
            if record.preparation_id in self._taken or record.preparation_id in self._spent:
                raise ProtocolError("this preparation is already spent, or here")
            if len(self._taken) >= self._max_count:
                raise Overloaded(f"the store already holds {self._max_count} preparations")
            if sum(self._taken.values()) + record.nbytes > self._max_bytes:
                raise Overloaded(f"{record.nbytes} bytes of preparation do not fit into the store")
            self._taken[record.preparation_id] = record.nbytes

    def _release(self, preparation_id: bytes) -> None:
        with self._lock:
            self._taken.pop(preparation_id, None)

    def _remove(self, preparation_id: bytes) -> None:
        (self._directory / spool_name(preparation_id)).unlink(missing_ok=True)
        self._release(preparation_id)

    def _load(self) -> None:
        """Keep what an earlier process completed and never touched; delete everything else."""
        for path in sorted(self._directory.glob(f"*{SUFFIX}*"), key=lambda path: path.stat().st_mtime_ns):
            record = read_record(path, self._identity)
            fits = self.usage().nbytes + (record.nbytes if record else 0) <= self._max_bytes
            if record is None or record.preparation_id in self._spent or not fits:
                path.unlink()
                continue
            self._records[record.preparation_id] = record
            self._taken[record.preparation_id] = record.nbytes


def _own(directory: Path) -> int:
    """Make the directory private and lock it: two processes would spend the same preparation twice."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"the store {directory} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"the store {directory} is in use by another process") from error
    return descriptor


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Overloaded("the disk of the preparation store is full") from error
        raise
