"""Supernets: every head between its dear and its cheap arm, every row between GELU and nothing, in the same forward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from privinf.models.parts import Attention, FeedForward, Model
from privinf.train.engine import Told, TrainingOps
from privinf.train.prices import Price
from privinf.train.recipe import Choosing
from privinf.train.vision import Vision

LN2 = math.log(2)  # scores are in base two
ALPHA, BETA = "choice.alpha", "choice.beta"


@dataclass(frozen=True)
class Choices:
    """How much of the dear arm there is: alpha (layers, heads or 1), beta (layers, rows or 1) or none.

    prices: seconds of heads, and bends of rows, by layer; whole: of a model in which everything is dear.
    """

    settings: Choosing
    alpha: Tensor
    beta: Tensor | None = None
    prices: Sequence[Price] = ()
    bends: Sequence[Price] = ()
    whole: float = 1.0

    @staticmethod
    def start(settings: Choosing, layers: int, heads: int, rows: int) -> Choices:
        """As the paper begins: everything is dear."""
        alpha = torch.full((layers, heads if settings.grain == "head" else 1), settings.start)
        beta = None
        if settings.bends != "none":
            beta = torch.full((layers, rows if settings.bends == "token" else 1), settings.start)
        return Choices(settings, alpha.requires_grad_(), None if beta is None else beta.requires_grad_())

    def priced(self, prices: Sequence[Price], bends: Sequence[Price]) -> Choices:
        """With what is dear."""
        dear = [(prices, self.alpha.shape[1]), (bends, 0 if self.beta is None else self.beta.shape[1])]
        whole = sum(price.of(count) for some, count in dear for price in some)
        return replace(self, prices=tuple(prices), bends=tuple(bends), whole=max(whole, 1e-9))

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {ALPHA: self.alpha} | ({} if self.beta is None else {BETA: self.beta})

    def penalty(self) -> Tensor:
        """The paper's absolute values, and predicted seconds as a part of those of a model without a cheap arm."""
        total = self.settings.penalty * sum(x.abs().sum() for x in self.parameters.values())
        if self.settings.seconds:
            total = total + self.settings.seconds * self.seconds() / self.whole
        return torch.as_tensor(total)

    def seconds(self) -> Tensor:
        """Beyond those of a model that is cheap everywhere."""
        made = _seconds(self.alpha, self.prices)
        return made if self.beta is None else made + _seconds(self.beta, self.bends)


def _seconds(choice: Tensor, prices: Sequence[Price]) -> Tensor:
    """Each by its part, and the layer's own by how long the vector of its parts is.

    That length is one where one head alone is dear. Unlike one less the product of what is not, it has a gradient where
    all are, which is where a search begins; as a group's norm it takes whole layers to zero.
    """
    dear = choice.clamp(0, 1)
    each, any_ = (choice.new_tensor([getattr(price, name) for price in prices]) for name in ("each", "any"))
    lengths = (dear.square().sum(1) + 1e-12).sqrt()
    return (each * dear.sum(1) + any_ * lengths).sum()


class SupernetOps(TrainingOps):
    """The forward of the dear arms, with the cheap ones mixed in."""

    def __init__(
        self, weights: Mapping[str, Tensor], given: Tensor, told: Told, choices: Choices, model: Model
    ) -> None:
        super().__init__(weights, given, told)
        self._choices = choices
        self._layers = {layer.ffn.label: i for i, layer in enumerate(model.layers)}

    def scores(self, part: Attention, queries: Tensor, keys: Tensor) -> Tensor:
        self._scores = super().scores(part, queries, keys)
        return self._scores

    def mix(self, part: Attention, weights: Tensor, values: Tensor) -> Tensor:
        """Both arms mix the same values, so that what is mixed by alpha may be their weights."""
        alpha = self._choices.alpha[part.index][:, None, None]
        cheap = self._scores * (LN2 / self._scores.shape[-1])
        return super().mix(part, alpha * weights + (1 - alpha) * cheap, values)

    def averaged(self, part: Attention, weights: Tensor, values: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """What the cheap arm mixes, as it would be divided, is a part of what is."""
        mixed, inverse = super().averaged(part, weights, values, eps)
        alpha = self._choices.alpha[part.index][:, None, None]
        cheap = self._dropped(self._scores * (LN2 / self._scores.shape[-1])) @ values
        return alpha * mixed + (1 - alpha) * cheap / inverse, inverse

    def activate(self, x: Tensor, part: FeedForward) -> Tensor:
        if self._choices.beta is None:
            return super().activate(x, part)
        beta = self._choices.beta[self._layers[part.label]][:, None]
        return beta * super().activate(x, part) + (1 - beta) * x


class Supernet(Vision):
    """A network whose heads and rows are all dear, and cheap by their choices."""

    def __init__(self, network: Vision, choices: Choices) -> None:
        """Of the weights and drops of a network in which everything is dear."""
        self.spec, self.weights, self.model = network.spec, network.weights, network.model
        self.drops, self._choices = network.drops, choices
        self.choices = frozenset(choices.parameters)
        self.parameters = self.weights | choices.parameters

    def _engine(self, folded: Mapping[str, Tensor], given: Tensor, told: Told) -> TrainingOps:
        return SupernetOps(folded, given, told, self._choices, self.model)

    def penalty(self) -> Tensor | None:
        """Of its choices."""
        return self._choices.penalty()
