"""Variants of a model for one session each: which are left, and that none is ever used twice."""

from __future__ import annotations

import os
from pathlib import Path

from privinf.errors import ConfigError, FileError
from privinf.parties.stock.idtable import sync_directory

FOLDER = "variants"
MARK = "used"  # an empty file beside a variant's key or weights


def all_variants(folder: Path) -> list[Path]:
    """The folders of all variants, used or not."""
    return sorted(path for path in (folder / FOLDER).glob("*") if path.is_dir())


def left(folder: Path) -> int:
    """How many were never used."""
    return sum(not (path / MARK).exists() for path in all_variants(folder))


def take(folder: Path) -> Path:
    """Mark the first variant that was never used, for ever, and return its folder.

    Raises:
        ConfigError: all were used.
    """
    for path in all_variants(folder):
        if mark(path):
            return path
    raise ConfigError(
        f"every variant in {folder / FOLDER} was used, and none may be used again: "
        "cover the model again, with more --variants"
    )


def mark(path: Path) -> bool:
    """Mark a variant on stable storage; return False if it was marked before, by whatever process."""
    try:
        descriptor = os.open(path / MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb"):
            os.fsync(descriptor)
            sync_directory(path)
    except FileExistsError:
        return False
    except OSError as error:  # a mark that is there counts: this variant is lost, not used twice
        raise FileError.unwritten(path / MARK, error) from None
    return True
