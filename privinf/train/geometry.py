"""Images moved, cut and turned, each of a batch by its own numbers, in one pass over the pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ASPECT = math.log(4 / 3)  # of the logarithm of a crop's width over its height, either way
GREY = 0.5  # what comes in from beyond an edge, of pixels from 0 to 1


def uniform(count: int, low: float, high: float, draws: torch.Generator) -> Tensor:
    """So many numbers between low and high."""
    return torch.rand(count, generator=draws, device=draws.device) * (high - low) + low


def flipped(images: Tensor, share: float, draws: torch.Generator) -> Tensor:
    """Some turned left to right."""
    chosen = torch.rand(len(images), generator=draws, device=images.device) < share
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def shifted(images: Tensor, pixels: int, draws: torch.Generator) -> Tensor:
    """Each moved by up to so many pixels, black beyond the edges."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4)
    down, right = torch.randint(0, 2 * pixels + 1, (2, count), generator=draws, device=images.device).unbind()
    rows = (down[:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    which = torch.arange(count, device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[which, channels, rows, columns]


def cropped(images: Tensor, least: float, draws: torch.Generator) -> Tensor:
    """A part of each, between `least` and all of its area, scaled back."""
    count = len(images)
    area = uniform(count, least, 1, draws)
    aspect = torch.exp(uniform(count, -ASPECT, ASPECT, draws))
    wide, high = ((area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1))
    across, along = (uniform(count, -1, 1, draws) * (1 - side) for side in (wide, high))
    nothing = torch.zeros_like(wide)
    return sampled(images, _matrix(wide, nothing, across, nothing, high, along))


def turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Each about its middle."""
    angle = torch.deg2rad(degrees)
    cos, sin, nothing = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return sampled(images, _matrix(cos, -sin, nothing, sin, cos, nothing), GREY)


def sheared(images: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """Each by its own factors."""
    one, nothing = torch.ones_like(across), torch.zeros_like(across)
    return sampled(images, _matrix(one, across, nothing, along, one, nothing), GREY)


def moved(images: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """Each by parts of its size."""
    one, nothing = torch.ones_like(across), torch.zeros_like(across)
    return sampled(images, _matrix(one, nothing, 2 * across, nothing, one, 2 * along), GREY)


def _matrix(*entries: Tensor) -> Tensor:
    """Two rows of three for each image."""
    return torch.stack(entries, -1).view(-1, 2, 3)


def sampled(images: Tensor, matrices: Tensor, beyond: float = 0.0) -> Tensor:
    """Each image where its matrix says, between pixels by their distance."""
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    out = functional.grid_sample(
        images - beyond, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return out + beyond
