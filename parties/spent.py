"""The list of preparations that may never be used again, on stable storage."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from privinf.errors import ConfigError, ProtocolError
from privinf.protocols.program import ID_BYTES

_DIGITS = 2 * ID_BYTES


class SpentLog:
    """An append-only file of ids, one a line; `mark` returns after the disk has it."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        _sync_directory(path.parent)
        self._spent, self._torn = self._load()
        self._whole = True  # whether the last line was written to its end

    def __contains__(self, preparation_id: bytes) -> bool:
        text = preparation_id.hex()
        return preparation_id in self._spent or any(text.startswith(part) for part in self._torn)

    def mark(self, preparation_id: bytes) -> None:
        """Spend an id; raise ProtocolError if it was spent before, by whatever process."""
        with self._lock:
            if preparation_id in self:
                raise ProtocolError("this preparation is already spent")
            self._spent.add(preparation_id)
            self._append(preparation_id.hex().encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """Write all of a line and wait for the disk; after a failure the next one does not share the line."""
        line = line if self._whole else b"\n" + line
        self._whole = False
        while line:
            line = line[os.write(self._descriptor, line) :]
        os.fdatasync(self._descriptor)
        self._whole = True

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _load(self) -> tuple[set[bytes], list[str]]:
        """Read the file; a line torn by a crash spends every id that begins with it."""
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        if content and not content.endswith(b"\n"):
            os.write(self._descriptor, b"\n")  # so that the next id starts a line of its own
        lines = [line.decode("ascii", "replace") for line in content.split(b"\n") if line]
        try:
            whole = {bytes.fromhex(line) for line in lines if len(line) == _DIGITS}
        except ValueError as error:
            raise ConfigError("spent.log is damaged: empty the store, spent.log last") from error
        if any(len(line) > _DIGITS for line in lines):
            raise ConfigError("spent.log is damaged: empty the store, spent.log last")
        return whole, [line for line in lines if len(line) != _DIGITS]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
