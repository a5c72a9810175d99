"""Randomness by name: a generator for each step and purpose, so that a run that goes on draws what it would have."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch


def number(seed: int, *name: object) -> int:
    """A number of 63 bits that the seed and the name alone decide."""
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *name: object, device: str = "cpu") -> torch.Generator:
    """Of torch."""
    return torch.Generator(device=device).manual_seed(number(seed, *name))


def order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """In which the images of an epoch come."""
    return np.random.default_rng(number(seed, "order", epoch)).permutation(count)
