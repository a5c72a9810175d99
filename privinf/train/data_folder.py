"""A folder of images a class, decoded once into arrays that lie in the cache."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from privinf.errors import ConfigError, FileError, InputError
from privinf.formats.fetch import home
from privinf.formats.pictures import read_picture
from privinf.train.data import ImageSet, read_arrays

if TYPE_CHECKING:
    pass

PARTS = ("train", "test")
TEST_PART = 5  # without folders of their own, one image of so many is for the test
SIDES = (4, 1024)  # of what images are scaled to
VERSION = 1  # of the arrays that are kept
Found = list[tuple[Path, int]]  # files, and the class of each


def read_folder(
    folder: Path, size: tuple[int, int] | None, tick: Callable[[int], None] = lambda done: None
) -> ImageSet:
    """DIR/CLASS/FILES, or DIR/train/CLASS/FILES and DIR/test/CLASS/FILES, scaled to (height, width).

    Raises:
        InputError: a class without images, fewer than two classes, or a file that is no image; it names which.
    """
    if size is None or not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise ConfigError(
            f"images of a folder are scaled to {SIDES[0]} to {SIDES[1]} pixels a side, not {size}"
        )
    classes, found = _found(folder)
    kept = home() / "images" / _key(folder, classes, found, size)
    if not (kept / "classes.json").is_file():
        _keep(kept, classes, found, size, tick)
    return read_arrays(kept, folder.name)


def _found(folder: Path) -> tuple[list[str], dict[str, Found]]:
    """Names of classes, and the files of both parts."""
    if all((folder / part).is_dir() for part in PARTS):
        classes = _classes(folder / "train")
        if (other := _classes(folder / "test")) != classes:
            odd = sorted(set(classes) ^ set(other))
            raise InputError(f"{folder}: train and test differ in classes: {', '.join(odd)}")
        return classes, {part: list(_files(folder / part, classes)) for part in PARTS}
    classes = _classes(folder)
    found = list(_files(folder, classes))
    split: dict[str, Found] = {part: [] for part in PARTS}
    for label in range(len(classes)):
        own = [item for item in found if item[1] == label]
        if len(own) < 2:
            raise InputError(f"{folder / classes[label]}: two images at least, one of them for the test")
        for place, item in enumerate(own):
            split["test" if place % TEST_PART == 1 else "train"].append(item)
    return classes, split


def _classes(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise InputError(f"{folder} has {len(names)} folders: one for each class is needed, two at least")
    return names


def _files(folder: Path, classes: Sequence[str]) -> Iterator[tuple[Path, int]]:
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).iterdir() if not path.name.startswith("."))
        if not files:
            raise InputError(f"{folder / name} holds no image: remove it, or put images there")
        yield from ((path, label) for path in files)


def _key(folder: Path, classes: list[str], found: dict[str, Found], size: tuple[int, int]) -> str:
    """Changes whenever a file does."""
    digest = hashlib.sha256(repr((VERSION, classes, size)).encode())
    for part in PARTS:
        for path, label in found[part]:
            about = path.stat()
            line = (part, str(path.relative_to(folder)), label, about.st_size, about.st_mtime_ns)
            digest.update(repr(line).encode())
    return f"{folder.name}-{digest.hexdigest()[:16]}"


def _keep(
    kept: Path,
    classes: list[str],
    found: dict[str, Found],
    size: tuple[int, int],
    tick: Callable[[int], None],
) -> None:
    """Decodes all files into a folder that appears whole or not at all."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".images-", dir=kept.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            for part in PARTS:
                _write(made, part, found[part], size, tick)
            (made / "classes.json").write_text(json.dumps(classes), "utf-8")
            if not kept.exists():
                made.rename(kept)
    except OSError as error:
        raise FileError(f"{FileError.unwritten(kept, error)}; set PRIVINF_HOME") from error


def _write(into: Path, part: str, found: Found, size: tuple[int, int], tick: Callable[[int], None]) -> None:
    shape = (len(found), *size, 3)
    images = np.lib.format.open_memmap(into / f"{part}-images.npy", "w+", np.uint8, shape)
    for place, (path, _) in enumerate(found):
        images[place] = np.asarray(read_picture(path).resize((size[1], size[0]), resample=2))
        tick(1)
    images.flush()
    np.save(into / f"{part}-labels.npy", np.array([label for _, label in found], dtype=np.int64))
