"""What is trained: parameters by name, and one forward pass over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from privinf.errors import InputError
from privinf.models.learning import Seen
from privinf.train.checkpoint import Checkpoint


class Network(Protocol):
    """What is trained: parameters that are leaves, by name, and a forward pass over them.

    choices: which of them choose between arms, and learn by a rate of their own.
    """

    parameters: Mapping[str, Tensor]
    choices: frozenset[str]

    def run(self, images: Tensor, draws: torch.Generator | None) -> Seen:
        """Of images (batch, channels, rows, columns) in the model's scale; without draws nothing is dropped."""

    def penalty(self) -> Tensor | None:
        """What choices cost, to be added to the loss."""


def load_weights(network: Network, found: Checkpoint, path: Path) -> None:
    """Weights of a checkpoint into a network of the same shapes."""
    stored = found.part("weights")
    own = {name: tuple(x.shape) for name, x in network.parameters.items()}
    if own != {name: x.shape for name, x in stored.items()}:
        raise InputError(f"{path} holds the weights of another model: remove it, or choose another folder")
    with torch.no_grad():
        for name, x in network.parameters.items():
            x.copy_(torch.from_numpy(stored[name]))
