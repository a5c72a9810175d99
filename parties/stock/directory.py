"""The folder of a store: private, of one process alone, and on a disk that may be full."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from privinf.errors import ConfigError, FileError, Overloaded

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def own(directory: Path) -> int:
    """Make the directory private and lock it: two processes would spend the same preparation twice."""
    with usable_folder(directory):
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
def usable_folder(directory: Path) -> Iterator[None]:
    """Say what to do about a folder that the disk does not let a party start with."""
    try:
        yield
    except OSError as error:
        todo = ": free space on its disk, or set another store" if error.errno in _FULL else ""
        raise FileError(f"the store {directory} cannot be used: {error.strerror}{todo}") from error


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Say of a full disk that there is no room for more."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Overloaded("the disk of the preparation store is full") from error
        raise
