"""A folder of small images a class, which can be learnt, and recipes that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from privinf.train.recipe import Recipe
from privinf.train.recipes import override, read

SIDE = 8
CLASSES = ("left", "middle", "right")
TINY = (
    "model.width=16",
    "model.ffn=32",
    "model.patch=2",
    "data.size=8",
    "data.limit=0",
    "augmentation.flip=0",
    "optimisation.epochs=3",
    "optimisation.batch=16",
    "optimisation.rate=0.01",
)


def folder(into: Path, each: int = 30) -> Path:
    """Noise with one column bright: which one is the class."""
    draws = np.random.default_rng(0)
    for place, name in enumerate(CLASSES):
        (into / name).mkdir(parents=True)
        for i in range(each):
            pixels = draws.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[:, 2 + 2 * place] += 150
            Image.fromarray(pixels).save(into / name / f"{i:02}.png")
    return into


def recipe(images: Path, *settings: str) -> Recipe:
    return override(read("tiny"), [*TINY, f"data.set={images}", *settings])
