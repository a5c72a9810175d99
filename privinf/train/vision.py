"""Vision transformers as they are trained: a checkpoint's own parameters, folded at each step for the clear engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from privinf.models.engines.observers import Ranges
from privinf.models.learning import Seen, see, whole
from privinf.models.parts import build
from privinf.models.source.checkpoint import tensors
from privinf.models.source.tensors import Array
from privinf.models.spec import ModelSpec
from privinf.train.engine import Drops, Told, TrainingOps
from privinf.train.randomness import generator

SPREAD = 0.02  # of weights at the beginning, two deviations at most
POSITION_SPREAD = 0.2


def initial(spec: ModelSpec, seed: int) -> dict[str, Tensor]:
    """Parameters by our names: gains of one, biases of zero, and draws that the name decides."""
    made = {}
    for name, tensor in tensors(spec).items():
        shape = tensor.ours(np.zeros(tensor.shape, np.float32)).shape
        made[name] = _drawn(name, shape, seed).requires_grad_()
    return made


def _drawn(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if name.endswith(".gain"):
        return torch.ones(shape)
    if name.endswith(".bias"):
        return torch.zeros(shape)
    if name == "embed.patch.weight":
        spread = (2 / shape[0]) ** 0.5
    else:
        spread = POSITION_SPREAD if name == "embed.position" else SPREAD
    draws = generator(seed, "initial", name)
    return torch.nn.init.trunc_normal_(
        torch.empty(shape), std=spread, a=-2 * spread, b=2 * spread, generator=draws
    )


class Vision:
    """A network of images. Without features, the last layer computes the first row alone, as it does in shares."""

    choices: frozenset[str] = frozenset()

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Tensor],
        *,
        attention_drops: float = 0.0,
        depth: float = 0.0,
        features: bool = True,
    ) -> None:
        self.spec, self.weights = spec, dict(weights)
        self.model = whole(spec) if features else build(spec)
        self.parameters: Mapping[str, Tensor] = self.weights
        self.drops = Drops.of(self.model, attention_drops, depth)

    def run(
        self, images: Tensor, draws: torch.Generator | None = None, observer: Ranges | None = None
    ) -> Seen:
        """Logits, and the rows behind the last norm with its gain and bias."""
        told = Told(self.drops, draws, self._offsets(draws), observer)
        return see(self.model, self.weights, images, lambda folded, given: self._engine(folded, given, told))

    def _engine(self, folded: Mapping[str, Tensor], given: Tensor, told: Told) -> TrainingOps:
        return TrainingOps(folded, given, told)

    def _offsets(self, draws: torch.Generator | None) -> dict[str, Tensor]:
        """Of each skip, the centred bias of its norm, where branches are dropped."""
        if draws is None or not any(self.drops.branches.values()):
            return {}
        made = {}
        for layer in self.model.layers:
            for norm, skip in (
                (layer.attention_norm, layer.attention_skip),
                (layer.ffn_norm, layer.ffn_skip),
            ):
                if skip is not None:
                    bias = self.weights[f"{norm.site}.norm.bias"]
                    made[skip.gain] = bias - bias.mean()
        return made

    def penalty(self) -> Tensor | None:
        """What is added to the loss: nothing."""
        return None

    def arrays(self) -> dict[str, Array]:
        """Its weights."""
        return {name: x.detach().cpu().numpy() for name, x in self.weights.items()}
