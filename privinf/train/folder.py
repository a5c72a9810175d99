"""The folder of a run: who may write in it, and where things lie."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privinf.errors import ConfigError, FileError

LOCK = ".lock"


@contextmanager
def owned(folder: Path, wait: bool = False) -> Iterator[Path]:
    """Have a folder to oneself, for as long as this process lives at most; ConfigError where another has it.

    wait: until that other one is done with it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise FileError.unwritten(folder, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ConfigError(
                f"{folder} is in use by another process: wait for it, or choose another"
            ) from None
        yield folder
