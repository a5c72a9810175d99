"""What is made small: cross entropy with soft labels, and the distance to a teacher."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from privinf.train.recipe import Distillation


@dataclass(frozen=True)
class Output:
    """Of a network: logits (batch, classes), and rows behind the last norm (batch, rows, width)."""

    logits: Tensor
    features: Tensor


def cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """With a distribution for each image."""
    return -(soft * functional.log_softmax(logits.float(), -1)).sum(-1).mean()


def distance(own: Output, teacher: Output, settings: Distillation) -> Tensor:
    """From a teacher: the cross entropy with its softened answer, and the mean square of what its rows differ by."""
    heat = settings.temperature
    said = functional.softmax(teacher.logits.float() / heat, -1)
    logits = cross_entropy(own.logits / heat, said) * heat**2
    features = functional.mse_loss(own.features.float(), teacher.features.float())
    return settings.logits * logits + settings.features * features
