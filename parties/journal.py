"""A file that names what was opened, one line each, for those who want to compare it with what should have been."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from privinf.errors import ConfigError


class Journal:
    """Appends public facts: a generation's preparation id, a pass, and the program's description of a wire."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w")
        except OSError as error:
            raise ConfigError(f"the journal {path} cannot be written: {error.strerror}") from error
        self._lock = threading.Lock()

    def opened(self, preparation_id: bytes, index: int, name: str) -> None:
        """Note that a pass opened a wire; it reaches the file with the next `flush`."""
        with self._lock:
            self._file.write(f"{preparation_id.hex()} {index} {name}\n")

    def flush(self) -> None:
        """Write what is noted."""
        with self._lock:
            self._file.flush()

    def close(self) -> None:
        """Write what is noted, and end it."""
        with self._lock:
            self._file.close()
