"""Writes data sets of images that came in other formats as plain arrays, with the names of their classes."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privinf.errors import IntegrityError, MissingExtra

U8 = npt.NDArray[np.uint8]
IMAGE, LABEL = 3, 1  # axes of an idx file of images, and of one of labels
CIFAR_SIDE, CIFAR_BATCHES = 32, 5
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# As the package spells it.
CIFAR_LABELS = {"train": "train_lables.json", "test": "test_lables.json"}
IDX_PARTS = {"train": "train", "test": "t10k"}


def write_sheets(source: Path, into: Path) -> None:
    """CIFAR-10 as sheets, an image a row."""
    sheets = {"train": [f"data_batch_{i + 1}" for i in range(CIFAR_BATCHES)], "test": ["test_batch"]}
    for part, names in sheets.items():
        images = np.concatenate([_sheet(source / f"{name}.png") for name in names])
        labels = np.array(json.loads((source / CIFAR_LABELS[part]).read_text("utf-8")))
        _write(into, part, images, labels, len(CIFAR))
    _write_classes(into, CIFAR)


def write_idx(source: Path, into: Path, classes: Sequence[str]) -> None:
    """MNIST's format: big-endian sizes, then bytes, in gzip or plain."""
    for part, theirs in IDX_PARTS.items():
        images = _idx(source / f"{theirs}-images-idx3-ubyte", IMAGE)
        labels = _idx(source / f"{theirs}-labels-idx1-ubyte", LABEL)
        _write(into, part, images[..., None], labels, len(classes))
    _write_classes(into, classes)


def _sheet(path: Path) -> U8:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra('images need Pillow: pip install "privinf[train]"') from error
    with Image.open(path) as image:
        pixels: U8 = np.asarray(image.convert("RGB"))
    return pixels.reshape(-1, CIFAR_SIDE, CIFAR_SIDE, 3)


def _idx(path: Path, axes: int) -> U8:
    """The numbers of one file, of bytes and with so many axes."""
    packed = path.with_name(f"{path.name}.gz")
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    head = 4 + 4 * axes
    if len(raw) < head or raw[:4] != bytes((0, 0, 8, axes)):
        raise IntegrityError(f"{path.name} is no idx file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", raw[4:head])
    if len(raw) - head != np.prod(shape, dtype=np.int64):
        raise IntegrityError(f"{path.name} is cut short")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def _write(into: Path, part: str, images: U8, labels: npt.NDArray[np.integer], classes: int) -> None:
    if len(images) != len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise IntegrityError(f"{part}: {len(images)} images, {len(labels)} labels, of {classes} classes")
    np.save(into / f"{part}-images.npy", images)
    np.save(into / f"{part}-labels.npy", labels.astype(np.int64))


def _write_classes(into: Path, classes: Sequence[str]) -> None:
    (into / "classes.json").write_text(json.dumps(list(classes)) + "\n", "utf-8")
