"""The list of preparations that may never be used again, on stable storage: a short log, and tables behind it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from privinf.errors import ConfigError, ProtocolError
from privinf.parties.stock.idtable import IdTable, sync_directory
from privinf.protocols.contract import ID_BYTES

_DIGITS: Final = 2 * ID_BYTES
_LINES: Final = 4096  # of the log before its ids go into tables
_RETRY: Final = 256  # more of them, where the disk has no room for a table
_SLOTS: Final = 1 << 16  # of the first table; each next one has twice as many
_CHUNK: Final = 1 << 20  # of a log that is read
_DAMAGED: Final = "spent.log is damaged: empty the store, spent.log and spent-*.ids last"


class SpentLog:
    """An append-only file of ids, one a line; `mark` returns after the disk has it, unless that need not be waited for.

    A log that has grown long is folded: its ids are added to a table, the disk has that, and only then does an empty
    log take its name. Whatever a crash leaves of this, each id is in the log or in a table. A line with fewer digits
    than an id is torn: its mark never returned, so nothing was read under it, and it spends nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.RLock()
        self._tables = [IdTable(table) for table in self._found()]
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        sync_directory(path.parent)
        self._recent: set[bytes] = set()
        self._named = True  # whether the disk has the name of this log
        self._rest = b""  # of lines that a full disk has cut off
        self._due = _LINES
        self._load()

    def __contains__(self, preparation_id: bytes) -> bool:
        with self._lock:
            return preparation_id in self._recent or any(preparation_id in table for table in self._tables)

    def mark(self, preparation_id: bytes, forced: bool = True) -> None:
        """Spend an id; raise ProtocolError if it was spent before, by whatever process.

        Not `forced`, the system has it when this returns, and the disk some time later: a later process knows it, also
        after this one was killed. A power cut may lose it, with all that lay in memory.
        """
        with self._lock:
            if preparation_id in self:
                raise ProtocolError("this preparation is already spent")
            self._recent.add(preparation_id)
            self._append(preparation_id.hex().encode() + b"\n", forced)
            if len(self._recent) >= self._due:
                self._try_to_fold()

    def close(self) -> None:
        """Close the files; nothing is spent by this process from here on."""
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1  # a late mark fails, and is not written to what has this number next
            for table in self._tables:
                table.close()

    def _found(self) -> list[Path]:
        """Return the files of the tables, none of which may be missing: its ids would be forgotten."""
        found = sorted(self._path.parent.glob("spent-*.ids"))
        if found != [self._table(number) for number in range(len(found))]:
            raise ConfigError(_DAMAGED)
        return found

    def _table(self, number: int) -> Path:
        return self._path.with_name(f"spent-{number:02}.ids")

    def _append(self, line: bytes, forced: bool) -> None:
        """Write all of a line, and wait for the disk; what a full disk has cut off is written with the next one."""
        if not self._named:
            self._sync_name()
        self._rest += line
        while self._rest:
            self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        if forced:
            os.fdatasync(self._descriptor)

    def _load(self) -> None:
        """Read the log, whose last line a crash may have torn."""
        self._mend_end()
        size = os.fstat(self._descriptor).st_size
        if size // (_DIGITS + 1) <= _LINES:
            self._recent.update(self._read())
        else:
            self._add(self._read())
            self._replace()

    def _mend_end(self) -> None:
        """End a last line that holds a whole id; cut one that is torn, so that the next id has a line of its own."""
        size = os.fstat(self._descriptor).st_size
        last = os.pread(self._descriptor, _CHUNK, max(size - _CHUNK, 0)).rpartition(b"\n")[2]
        if len(last.replace(b"\0", b"")) >= _DIGITS:
            os.write(self._descriptor, b"\n")
        elif last:
            os.ftruncate(self._descriptor, size - len(last))

    def _read(self) -> Iterator[bytes]:
        """Yield the ids of the log; torn lines that earlier versions have ended are passed over."""
        at, rest = 0, b""
        while chunk := os.pread(self._descriptor, _CHUNK, at):
            at += len(chunk)
            *lines, rest = (rest + chunk.replace(b"\0", b"")).split(b"\n")  # zeros: what a power cut left out
            for line in lines:
                if len(line) >= _DIGITS:
                    yield _parsed(line.decode("ascii", "replace"))
            if len(rest) > _DIGITS:
                raise ConfigError(_DAMAGED)

    def _try_to_fold(self) -> None:
        try:
            self._add(self._recent)
            self._replace()
            self._due = _LINES
        except OSError:  # all of it is in the log still
            self._due = len(self._recent) + _RETRY

    def _add(self, preparation_ids: Iterable[bytes]) -> None:
        """Add ids to the tables; the disk has them when this returns."""
        for preparation_id in preparation_ids:
            if not self._tables or self._tables[-1].full:
                self._extend()
            self._tables[-1].add(preparation_id)
        for table in self._tables:
            table.sync()

    def _extend(self) -> None:
        number, slots = len(self._tables), self._tables[-1].slots * 2 if self._tables else _SLOTS
        self._tables.append(IdTable.make(self._table(number), slots))

    def _replace(self) -> None:
        """Put an empty log in the place of one whose ids the tables have."""
        new = self._path.with_name("spent.log.part")
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            os.fsync(descriptor)
            os.replace(new, self._path)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor, self._named, self._rest = descriptor, False, b""
        self._recent.clear()
        with contextlib.suppress(OSError):  # tried again before anything is written to it
            self._sync_name()

    def _sync_name(self) -> None:
        sync_directory(self._path.parent)
        self._named = True


def _parsed(line: str) -> bytes:
    try:
        if len(line) == _DIGITS:
            return bytes.fromhex(line)
    except ValueError as error:
        raise ConfigError(_DAMAGED) from error
    raise ConfigError(_DAMAGED)
