"""Batches of images and soft labels as a recipe wants them: cut, moved, coloured, erased, and mixed with each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from privinf.train import geometry, randaugment
from privinf.train.recipe import Augmentation

ERASED = (0.02, 1 / 3)  # parts of an image's area


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each channel, of values from 0 to 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def most(self) -> float:
        """The largest magnitude of a value that is scaled."""
        return max(
            abs(end - mean) / deviation
            for mean, deviation in zip(self.mean, self.deviation, strict=True)
            for end in (0, 1)
        )

    def of(self, images: Tensor) -> Tensor:
        """Bytes or values from 0 to 1, as a model takes them."""
        mean, deviation = (
            torch.tensor(x, device=images.device).view(1, -1, 1, 1) for x in (self.mean, self.deviation)
        )
        return (unit(images) - mean) / deviation


def unit(images: Tensor) -> Tensor:
    """Bytes as values from 0 to 1."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def channels_first(images: Tensor) -> Tensor:
    """(batch, rows, columns, channels) as torch has them."""
    return images.permute(0, 3, 1, 2).contiguous()


def augment(
    images: Tensor,
    labels: Tensor,
    classes: int,
    settings: Augmentation,
    scale: Scale,
    epoch: int,
    draws: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Bytes (batch, channels, rows, columns) and classes (batch,): what a model takes, and soft labels."""
    moved = unit(_moved(images, settings, draws))
    if settings.operations:
        moved = randaugment.augmented(
            moved, settings.operations, settings.magnitude, settings.deviation, draws
        )
    made = scale.of(moved)
    if settings.erase:
        made = _erased(made, settings.erase, draws)
    soft = softened(labels, classes, settings.smoothing)
    if settings.mix_until and epoch >= settings.mix_until:
        return made, soft
    return _mixed(made, soft, settings, draws)


def softened(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """One for the class, less what all classes share."""
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def _moved(images: Tensor, settings: Augmentation, draws: torch.Generator) -> Tensor:
    if settings.crop < 1:
        images = geometry.cropped(unit(images), settings.crop, draws)
    if settings.shift:
        images = geometry.shifted(images, settings.shift, draws)
    return geometry.flipped(images, settings.flip, draws) if settings.flip else images


def _erased(images: Tensor, share: float, draws: torch.Generator) -> Tensor:
    """In some, a rectangle of noise."""
    count, _, height, width = images.shape
    chosen = torch.rand(count, generator=draws, device=images.device) < share
    area = geometry.uniform(count, *ERASED, draws)
    aspect = torch.exp(geometry.uniform(count, -math.log(10 / 3), math.log(10 / 3), draws))
    inside = _box((area / aspect).sqrt(), (area * aspect).sqrt(), height, width, draws)
    noise = torch.randn(images.shape, generator=draws, device=images.device)
    return torch.where((inside & chosen[:, None, None])[:, None], noise, images)


def _box(high: Tensor, wide: Tensor, height: int, width: int, draws: torch.Generator) -> Tensor:
    """A rectangle of these parts of a side in each image, somewhere: which pixels are in it."""
    spans = []
    for part, side in ((high, height), (wide, width)):
        length = (part * side).round().clamp(1, side)
        first = (torch.rand(len(part), generator=draws, device=part.device) * (side - length + 1)).floor()
        places = torch.arange(side, device=part.device)
        spans.append((places >= first[:, None]) & (places < (first + length)[:, None]))
    rows, columns = spans
    return rows[:, :, None] & columns[:, None, :]


def _mixed(
    images: Tensor, soft: Tensor, settings: Augmentation, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The batch with itself backwards, by one part for all: faded over, or a rectangle cut in."""
    cut = settings.cutmix > 0 and (settings.mixup == 0 or _one(draws) < settings.switch)
    if not (strength := settings.cutmix if cut else settings.mixup):
        return images, soft
    kept = _beta(strength, draws)
    other = images.flip(0)
    if cut:
        side = torch.full((1,), math.sqrt(1 - kept), device=images.device)
        inside = _box(side, side, images.shape[2], images.shape[3], draws)[0]
        images, kept = torch.where(inside, other, images), 1 - float(inside.float().mean())
    else:
        images = images * kept + other * (1 - kept)
    return images, soft * kept + soft.flip(0) * (1 - kept)


def _one(draws: torch.Generator) -> float:
    return float(torch.rand(1, generator=draws, device=draws.device))


def _beta(strength: float, draws: torch.Generator) -> float:
    """From the symmetric beta distribution; torch's own takes no generator, NumPy's takes a seed."""
    import numpy as np

    seed = int(torch.randint(0, 2**62, (1,), generator=draws, device=draws.device))
    return float(np.random.default_rng(seed).beta(strength, strength))
