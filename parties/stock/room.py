"""Where a preparation lies from its first byte to its use: in a file of the store, or in memory alone."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from privinf.errors import DamagedPreparation
from privinf.parties.stock.mapped import BLOCK, Mapping
from privinf.parties.stock.pages import POPULATE_WRITE, Pages
from privinf.parties.stock.record import SUFFIX, Record, describe, file_bytes, precomputed_span, spool_name
from privinf.protocols.contract import Buffer, StockSizes


@dataclass(frozen=True)
class Limits:
    """How much a store holds: bytes of all, a number, bytes of those in memory, and of the largest one there."""

    nbytes: int
    count: int
    in_memory: int = 0
    in_memory_each: int = 0


class Room(Protocol):
    """Room for one preparation: taken, written from front to back while it is read behind that, then published."""

    def take(self) -> None:
        """Take all of it at once, so that too little is known before the dealer begins."""
        ...

    def write(self, piece: Buffer) -> None:
        """Add what comes next of the dealer's bytes."""
        ...

    def coming(self) -> Mapping:
        """Return what is read while it comes, with the place for what is computed ahead."""
        ...

    def publish(self, record: Record) -> None:
        """From here on it is a preparation."""
        ...

    def close(self) -> None:
        """End it: it is gone unless it was published."""
        ...


class OnDisk:
    """A file under a provisional name, which is given its own when it is complete."""

    def __init__(self, directory: Path, sizes: StockSizes) -> None:
        self._directory, self._nbytes, self._room = directory, sizes.preparation, file_bytes(sizes)
        self._precomputed = precomputed_span(sizes)
        self._part = directory / (secrets.token_hex(16) + SUFFIX + ".part")
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def take(self) -> None:
        """Have the disk give all of it."""
        os.posix_fallocate(self._descriptor, 0, self._room)
        os.lseek(self._descriptor, BLOCK, os.SEEK_SET)

    def write(self, piece: Buffer) -> None:
        """Write what comes next."""
        view = memoryview(piece)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def coming(self) -> Mapping:
        """Map what is being written."""
        return Mapping.of_file(self._descriptor, self._nbytes, self._precomputed, writable=True)

    def publish(self, record: Record) -> None:
        """Describe and name the file."""
        os.pwrite(self._descriptor, record.tags, self._precomputed[1])
        os.ftruncate(self._descriptor, self._precomputed[1] + len(record.tags))
        os.pwrite(self._descriptor, describe(record), 0)
        self._part.rename(self._directory / spool_name(record.preparation_id))

    def close(self) -> None:
        """Close the file, and delete it unless it has its name."""
        os.close(self._descriptor)
        self._part.unlink(missing_ok=True)


def opened(directory: Path, record: Record) -> Mapping:
    """Map the file of a preparation and delete its name: a crash leaves nothing behind."""
    path = directory / spool_name(record.preparation_id)
    try:
        # What is not writable could not be erased; the mapping is read alone.
        with path.open("r+b") as file:
            span = precomputed_span(record.sizes)
            mapping = Mapping.of_file(file.fileno(), record.sizes.preparation, span)
    except (FileNotFoundError, ValueError) as error:  # gone, or cut short
        raise DamagedPreparation("a stored preparation cannot be read") from error
    path.unlink()
    return mapping


class InMemory:
    """Pages of this process that no file has: they die with it, and with their use."""

    def __init__(self, sizes: StockSizes, pages: Pages, whole: mmap.mmap) -> None:
        self._nbytes, self._precomputed = sizes.preparation, precomputed_span(sizes)
        self._pages, self.whole = pages, whole
        self._at, self._published, self._given = BLOCK, False, False

    def take(self) -> None:
        """It is taken."""

    def write(self, piece: Buffer) -> None:
        """Copy what comes next, the one copy that is made of it here."""
        start, self._at = self._at, self._at + len(piece)
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # of an older system: its pages come one by one
            self.whole.madvise(POPULATE_WRITE, page, self._at - page)
        self.whole[start : self._at] = piece

    def coming(self) -> Mapping:
        """Look at what is being written."""
        return Mapping(self.whole, self._nbytes, self._precomputed, writable=True, anonymous=True)

    def publish(self, record: Record) -> None:
        """Keep it."""
        self._published = True

    def close(self) -> None:
        """Give the pages back, unless it was published."""
        if not self._published:
            self.erase()

    def opened(self) -> Mapping:
        """Return it to be read once, from its beginning; erasing that erases this."""
        return Mapping(self.whole, self._nbytes, self._precomputed, anonymous=True, erased=self.erase)

    def erase(self) -> None:
        """Give the pages back, once."""
        if not self._given:
            self._given = True
            self._pages.give(self.whole)
