"""Small images that can be learnt, and the smallest network: what the loop is tested with."""

from __future__ import annotations

import numpy as np
import torch

from privinf.models.learning import Seen
from privinf.train.augment import Scale
from privinf.train.data import Split
from privinf.train.loop import Material
from privinf.train.recipe import Recipe
from privinf.train.recipes import override, read

SIDE, CLASSES = 8, 3
QUICK = (
    "optimisation.epochs=3",
    "optimisation.batch=8",
    "optimisation.warmup=1",
    "optimisation.rate=0.01",
    "augmentation.mixup=0.2",
    "augmentation.shift=1",
)


def images(count: int, seed: int = 0) -> Split:
    """Noise, with one third of the rows bright: which third is the class."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = draws.integers(0, 128, (count, SIDE, SIDE, 3), dtype=np.uint8)
    for place, label in enumerate(labels):
        pixels[place, label * SIDE // CLASSES : (label + 1) * SIDE // CLASSES] += 100
    return Split(pixels, labels.astype(np.int64))


def material(count: int = 40) -> Material:
    scale = Scale((0.3,) * 3, (0.2,) * 3)
    return Material(images(count), images(15, 1), CLASSES, scale)


def recipe(*settings: str) -> Recipe:
    return override(read("tiny"), [*QUICK, *settings])


class Linear:
    """Pixels times a matrix; half of them are dropped where there are draws."""

    def __init__(self, seed: int = 0) -> None:
        draws = torch.Generator().manual_seed(seed)
        weight = torch.randn(3 * SIDE * SIDE, CLASSES, generator=draws) * 0.02
        self.parameters = {
            "head.weight": weight.requires_grad_(),
            "head.bias": torch.zeros(CLASSES, requires_grad=True),
        }
        self.choices: frozenset[str] = frozenset()

    def run(self, images: torch.Tensor, draws: torch.Generator | None) -> Seen:
        rows = images.flatten(1)
        if draws is not None:
            rows = rows * (torch.rand(rows.shape, generator=draws) < 0.5) * 2
        weight, bias = self.parameters.values()
        return Seen(rows @ weight + bias, rows[:, None])

    def penalty(self) -> torch.Tensor | None:
        return None
