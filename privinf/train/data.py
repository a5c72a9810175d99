"""Data sets of labelled images, as memory-mapped arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privinf.errors import ConfigError, FileError, InputError

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images (images, rows, columns, channels) of bytes, and the class of each."""

    images: U8
    labels: I64

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, places: I64) -> Split:
        """Some of them, in that order."""
        return Split(self.images[places], self.labels[places])


@dataclass(frozen=True)
class ImageSet:
    """A data set; a search looks at `train` alone, and cuts what it validates on from that."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        _, height, width, _ = self.train.images.shape
        return height, width

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[3])

    def held_out(self, fraction: float, seed: int) -> ImageSet:
        """The same training images in two parts, the second of which takes the place of the test images."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        cut = max(1, round(len(order) * fraction))
        if cut >= len(order):
            raise ConfigError(f"{len(order)} training images leave none to validate on")
        own, other = np.sort(order[cut:]), np.sort(order[:cut])
        return replace(self, train=self.train.at(own), test=self.train.at(other))

    def mean_and_deviation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of each channel over the training images, of values from 0 to 1."""
        some = self.train.images[:: max(1, len(self.train) // 10_000)].astype(np.float64) / 255
        mean, deviation = some.mean((0, 1, 2)), some.std((0, 1, 2))
        return tuple(mean.tolist()), tuple(np.maximum(deviation, 1e-3).tolist())


def read_arrays(folder: Path, name: str) -> ImageSet:
    """A data set as it is kept: four arrays, and the names of the classes."""
    try:
        classes = tuple(map(str, json.loads((folder / "classes.json").read_text("utf-8"))))
        train, test = (_read_split(folder, part) for part in ("train", "test"))
    except OSError as error:
        raise FileError.of(error) from None
    except ValueError as error:
        raise InputError(f"{folder} holds no data set of images ({error}): remove it and try again") from None
    return ImageSet(name, classes, train, test)


def _read_split(folder: Path, part: str) -> Split:
    images = np.load(folder / f"{part}-images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / f"{part}-labels.npy", allow_pickle=False)
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ValueError(f"{part}: arrays of shapes {images.shape} and {labels.shape}")
    return Split(images, labels.astype(np.int64))
