"""What is made small: cross entropy with soft labels, and the distance to a teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from privinf.models.learning import Seen
from privinf.train.recipe import Distillation


def cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """With a distribution for each image."""
    return -(soft * functional.log_softmax(logits.float(), -1)).sum(-1).mean()


def distance(own: Seen, teacher: Seen, settings: Distillation) -> Tensor:
    """From a teacher: the cross entropy with its softened answer, and the mean square of what its rows differ by."""
    heat = settings.temperature
    said = functional.softmax(teacher.logits.float() / heat, -1)
    logits = cross_entropy(own.logits / heat, said) * heat**2
    features = functional.mse_loss(own.features.float(), teacher.features.float())
    return settings.logits * logits + settings.features * features
