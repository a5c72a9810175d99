"""The clear engine as training wants it: weights of attention, and whole branches, are dropped at times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from privinf.models.engines.clear import ClearOps
from privinf.models.engines.observers import Ranges
from privinf.models.parts import Attention, Model, Skip


@dataclass(frozen=True)
class Drops:
    """attention: of weights. branches: by the label of what gives them, how often an image goes without."""

    attention: float
    branches: Mapping[str, float]

    @staticmethod
    def of(model: Model, attention: float, depth: float) -> Drops:
        """From no branch of the first layer to `depth` of the last one's."""
        last = max(len(model.layers) - 1, 1)
        rates = {}
        for i, layer in enumerate(model.layers):
            for label in (layer.attention.label, layer.ffn.label):
                rates[label] = depth * i / last
        return Drops(attention, rates)


@dataclass(frozen=True)
class Told:
    """What one pass is told. offsets: by the gain of each skip, the centred bias of its norm."""

    drops: Drops
    draws: torch.Generator | None
    offsets: Mapping[str, Tensor]
    observer: Ranges | None


class TrainingOps(ClearOps):
    """One pass; without draws nothing is dropped, and it is the clear engine."""

    def __init__(self, weights: Mapping[str, Tensor], given: Tensor, told: Told) -> None:
        super().__init__(weights, given, observer=told.observer)
        self._drops, self._draws, self._offsets, self._label = told.drops, told.draws, told.offsets, ""
        self._pairs: Tensor | None = None

    @contextmanager
    def at(self, label: str) -> Iterator[None]:
        before, self._label = self._label, label
        with super().at(label):
            yield
        self._label = before

    def mix(self, part: Attention, weights: Tensor, values: Tensor) -> Tensor:
        return super().mix(part, self._dropped(weights), values)

    def averaged(self, part: Attention, weights: Tensor, values: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Weights are dropped once they are divided, so that their sum is that of all."""
        mixed, _ = super().averaged(part, self._dropped(weights), values, eps)
        return mixed, 1 / (weights.sum(-1, keepdim=True) + eps)

    def paired(self, part: Attention, keys: Tensor, values: Tensor) -> Tensor:
        self._pairs = super().paired(part, keys, values)
        return self._pairs

    def gathered(self, part: Attention, weights: Tensor, values: Tensor, halvings: int) -> Tensor:
        """In linear order there are no weights to drop."""
        dropped = weights if values is self._pairs else self._dropped(weights)
        return super().gathered(part, dropped, values, halvings)

    def _dropped(self, weights: Tensor) -> Tensor:
        """Weights without some of them, at times."""
        if self._draws is None or not (rate := self._drops.attention):
            return weights
        return weights * self._kept(weights.shape, rate, weights)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return super().add(x, self._branch(y, None))

    def skip(self, y: Tensor, x: Tensor, part: Skip) -> Tensor:
        return super().skip(self._branch(y, part), x, part)

    def _branch(self, y: Tensor, part: Skip | None) -> Tensor:
        """What is added to the residual, less that of some images; a norm's bias that lies in it stays."""
        rate = self._drops.branches.get(self._label, 0.0)
        if self._draws is None or not rate:
            return y
        kept = self._kept((len(y), 1, 1), rate, y)
        if part is None:
            return y * kept
        offset = self._offsets[part.gain]
        return (y - offset) * kept + offset

    def _kept(self, shape: torch.Size | tuple[int, ...], rate: float, like: Tensor) -> Tensor:
        """Zero where something is dropped, and above one where it is not, so that the mean stays."""
        drawn = torch.rand(shape, generator=self._draws, device=like.device)
        return (drawn >= rate).to(like.dtype) / (1 - rate)
