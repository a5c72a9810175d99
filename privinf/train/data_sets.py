"""Data sets by name: those that can be fetched, and any folder of images a class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from privinf.errors import ConfigError
from privinf.formats.fetch import fetch, packages
from privinf.train.data import ImageSet, read_arrays
from privinf.train.data_folder import read_folder

IMAGES = "test-images.npy"  # what a fetched package of images has


def names() -> tuple[str, ...]:
    """Of the data sets that are known."""
    return tuple(sorted(name for name, package in packages().items() if IMAGES in package.needs))


def open_images(
    name: str, size: tuple[int, int] | None = None, tick: Callable[[int], None] = lambda done: None
) -> ImageSet:
    """A known data set, fetched where it is not yet, or a folder.

    size: to which images of a folder are scaled; those of a known set have their own. tick: counts images decoded.

    Raises:
        ConfigError: the name is neither.
        InputError: the folder's images cannot be used.
    """
    if name in names():
        return read_arrays(fetch(name), name)
    if Path(name).is_dir():
        return read_folder(Path(name), size, tick)
    known = ", ".join(names())
    raise ConfigError(f"data set {name!r} is unknown: choose one of {known}, or a folder with images a class")
