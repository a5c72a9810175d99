"""How often a network is right, of all images of a split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from privinf.train.augment import Scale, channels_first
from privinf.train.data import Split
from privinf.train.network import Network

BATCH = 500  # images at a time


def accuracy(network: Network, split: Split, scale: Scale, device: str = "cpu") -> float:
    """Of all images of a split, in float32, the part whose class is the likeliest."""
    right = 0
    for start in range(0, len(split), BATCH):
        images, labels = on(device, split.at(np.arange(start, min(start + BATCH, len(split)))))
        with torch.no_grad():
            right += int((network.run(scale.of(images), None).logits.argmax(-1) == labels).sum())
    return right / len(split)


def on(device: str, split: Split) -> tuple[Tensor, Tensor]:
    """Images (batch, channels, rows, columns) and classes as tensors of a device."""
    images = channels_first(torch.from_numpy(np.ascontiguousarray(split.images)))
    return images.to(device), torch.from_numpy(split.labels).to(device)
