"""RandAugment: a few operations drawn for each image, each harder as its magnitude grows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from privinf.train import geometry

LIKELY = 0.5  # an operation that was drawn is done
TURN, SHEAR, MOVE = 30.0, 0.3, 0.45  # at the largest magnitude: degrees, a factor, a part of the size
ENHANCE = 0.9
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey image
MOST = 10.0
Operation = Callable[[Tensor, Tensor, Tensor], Tensor]  # images from 0 to 1, strengths from 0 to 1, signs


def augmented(
    images: Tensor, count: int, magnitude: float, deviation: float, draws: torch.Generator
) -> Tensor:
    """`count` operations for each of images (batch, channels, rows, columns) with values from 0 to 1."""
    for _ in range(count):
        many, device = len(images), images.device
        kinds = torch.randint(0, len(OPERATIONS), (many,), generator=draws, device=device)
        done = torch.rand(many, generator=draws, device=device) < LIKELY
        noise = torch.randn(many, generator=draws, device=device)
        signs = torch.randint(0, 2, (many,), generator=draws, device=device) * 2.0 - 1
        strengths = (magnitude + deviation * noise).clamp(0, MOST) / MOST
        images = images.clone()
        for kind, operation in enumerate(OPERATIONS):
            chosen = (done & (kinds == kind)).nonzero()[:, 0]
            if len(chosen):
                images[chosen] = operation(images[chosen], strengths[chosen], signs[chosen]).clamp(0, 1)
    return images


def _wide(x: Tensor) -> Tensor:
    return x[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != len(LUMA):
        return images
    weights = torch.tensor(LUMA, device=images.device).view(1, -1, 1, 1)
    return (images * weights).sum(1, keepdim=True).expand_as(images)


def _stretched(images: Tensor, _strength: Tensor, _sign: Tensor) -> Tensor:
    """Each channel from 0 to 1."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def _equalised(images: Tensor, _strength: Tensor, _sign: Tensor) -> Tensor:
    """Each channel with every shade as frequent: a pixel becomes its rank."""
    flat = images.flatten(2)
    ordered = flat.sort(-1).values
    rank = torch.searchsorted(ordered, flat.contiguous(), right=True) - 1
    least = torch.searchsorted(ordered, ordered[..., :1].contiguous(), right=True) - 1
    spread = (flat.shape[-1] - 1 - least).clamp(min=1)
    return ((rank - least) / spread).view_as(images)


def _inverted(images: Tensor, _strength: Tensor, _sign: Tensor) -> Tensor:
    return 1 - images


def _posterised(images: Tensor, strength: Tensor, _sign: Tensor) -> Tensor:
    """Of eight bits, down to four are kept."""
    levels = _wide(2.0 ** (8 - (strength * 4).floor()))
    return (images * 255 / (256 / levels)).floor() * (256 / levels) / 255


def _solarised(images: Tensor, strength: Tensor, _sign: Tensor) -> Tensor:
    return torch.where(images >= _wide(1 - strength), 1 - images, images)


def _brightened_shadows(images: Tensor, strength: Tensor, _sign: Tensor) -> Tensor:
    return torch.where(images < 0.5, images + _wide(strength) * 110 / 255, images)


def _toward(images: Tensor, other: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    """Away from the other image, or to it."""
    return other + (images - other) * _wide(1 + ENHANCE * strength * sign)


def _coloured(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _toward(images, _grey(images), strength, sign)


def _contrasted(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _toward(images, _grey(images).mean((1, 2, 3), keepdim=True), strength, sign)


def _lit(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _toward(images, torch.zeros_like(images), strength, sign)


def _sharpened(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    smooth = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return _toward(images, smooth, strength, sign)


OPERATIONS: tuple[Operation, ...] = (
    _stretched,
    _equalised,
    _inverted,
    _posterised,
    _solarised,
    _brightened_shadows,
    _coloured,
    _contrasted,
    _lit,
    _sharpened,
    lambda x, strength, sign: geometry.turned(x, TURN * strength * sign),
    lambda x, strength, sign: geometry.sheared(x, SHEAR * strength * sign, 0 * sign),
    lambda x, strength, sign: geometry.sheared(x, 0 * sign, SHEAR * strength * sign),
    lambda x, strength, sign: geometry.moved(x, MOVE * strength * sign, 0 * sign),
    lambda x, strength, sign: geometry.moved(x, 0 * sign, MOVE * strength * sign),
)
