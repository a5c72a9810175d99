"""A file that names what was opened, one line each, for those who want to compare it with what should have been."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final, TextIO

from privinf.errors import ConfigError, FileError

PARTS: Final = 16  # that a journal is kept in, the one that is written included


class Journal:
    """Appends public facts: a generation's preparation id, a pass, and the program's description of a wire.

    A part that is full is put aside as PATH.1, PATH.2 and so on; of so many bytes in all, the oldest parts are deleted.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._part_bytes = path, max(max_bytes // PARTS, 1)
        self._lock = threading.Lock()
        self._file = self._open()

    def opened(self, preparation_id: bytes, index: int, name: str) -> None:
        """Note that a pass opened a wire; it reaches the file with the next `flush`."""
        with self._lock:
            self._file.write(f"{preparation_id.hex()} {index} {name}\n")

    def flush(self) -> None:
        """Write what is noted; a part that has grown long is put aside."""
        with self._lock:
            self._file.flush()
            if os.fstat(self._file.fileno()).st_size >= self._part_bytes:
                with contextlib.suppress(OSError, ConfigError):
                    # it goes on as it is, and that is tried again
                    self._turn()

    def close(self) -> None:
        """Write what is noted, and end it."""
        with self._lock:
            self._file.close()

    def _turn(self) -> None:
        numbers = sorted(self._numbers())
        if self._path.exists():  # else a new part could not be begun the last time
            self._path.rename(self._aside(numbers[-1] + 1 if numbers else 1))
        old, self._file = self._file, self._open()
        old.close()
        for number in numbers[: max(len(numbers) - PARTS + 2, 0)]:
            self._aside(number).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        """Return the numbers of the parts that are put aside."""
        ends = [path.suffix[1:] for path in self._path.parent.iterdir() if path.stem == self._path.name]
        return [int(end) for end in ends if end.isdecimal()]

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open(self) -> TextIO:
        try:
            return os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w")
        except OSError as error:
            raise FileError(f"the journal {FileError.unwritten(self._path, error)}") from error
