"""A set of ids in a file of fixed size: looked up where it lies, added to, never taken from.

A slot is a mark and an id. A crash loses at worst what was added since `sync`, and can spoil no older slot: whoever
adds keeps the ids elsewhere until then, and adds them again. It is read through a mapping; what is added is written to
the file, so that a full disk is an error and not the end of the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from privinf.errors import ConfigError
from privinf.protocols.contract import ID_BYTES

_HEADER: Final = struct.Struct("<16s16sQ")
_MAGIC: Final = b"privinf spent 1\n"
_START: Final = 4096
_SLOT: Final = 1 + ID_BYTES
_MARK: Final = b"\x01"
_SCAN: Final = 1 << 16  # slots counted at a time


class IdTable:
    """Open addressing, half full at most; a salt keeps whoever chooses ids from choosing places."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        try:
            self._salt, self.slots = self._read_header(path)  # places for ids, twice as many as may be taken
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            self._count = sum(self._marks())
        except BaseException:
            os.close(self._descriptor)
            raise

    @classmethod
    def make(cls, path: Path, slots: int) -> Self:
        """Make an empty one with all its room; its name is on the disk when this returns."""
        part = path.with_name(path.name + ".part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _START + slots * _SLOT)
            os.pwrite(descriptor, _HEADER.pack(_MAGIC, os.urandom(16), slots), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, path)
        sync_directory(path.parent)
        return cls(path)

    @property
    def full(self) -> bool:
        """Whether no more should be added."""
        return 2 * self._count >= self.slots

    def __contains__(self, identity: bytes) -> bool:
        return self._find(identity)[1]

    def add(self, identity: bytes) -> None:
        """Add an id, unless it is there; it is on the disk after `sync`."""
        place, there = self._find(identity)
        if not there:
            os.pwrite(self._descriptor, _MARK + identity, place)
            self._count += 1

    def sync(self) -> None:
        """Wait until the disk has what was added."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        self._map.close()
        os.close(self._descriptor)

    def _find(self, identity: bytes) -> tuple[int, bool]:
        """Return where an id lies, or would be added, and whether it is there."""
        digest = hashlib.blake2b(identity, key=self._salt, digest_size=8).digest()
        number, wanted = int.from_bytes(digest, "little") % self.slots, _MARK + identity
        while True:
            place = _START + number * _SLOT
            slot = self._map[place : place + _SLOT]
            if slot == wanted or slot[:1] != _MARK:
                return place, slot == wanted
            number = (number + 1) % self.slots

    def _marks(self) -> Iterator[int]:
        """Yield the marks of a part after the other."""
        for start in range(_START, len(self._map), _SCAN * _SLOT):
            yield self._map[start : start + _SCAN * _SLOT : _SLOT].count(_MARK)

    def _read_header(self, path: Path) -> tuple[bytes, int]:
        block = os.pread(self._descriptor, _HEADER.size, 0)
        with contextlib.suppress(struct.error):
            magic, salt, slots = _HEADER.unpack(block)
            if magic == _MAGIC and os.fstat(self._descriptor).st_size == _START + slots * _SLOT and slots:
                return salt, slots
        raise ConfigError(f"{path.name} is damaged: empty the store, spent.log and spent-*.ids last")


def sync_directory(path: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
