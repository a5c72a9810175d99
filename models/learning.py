"""A classifier of images over parameters that learn: the program that is run in shares, from pixels to classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from privinf.models.clear import embedded_patches
from privinf.models.engines.clear import ClearOps
from privinf.models.fold import fold_tensors
from privinf.models.heads import HEADS
from privinf.models.orders import ORDERS
from privinf.models.parts import Model, build
from privinf.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

Engine = Callable[
    ["Mapping[str, torch.Tensor]", "torch.Tensor"], ClearOps
]  # of folded weights and first rows


@dataclass(frozen=True)
class Seen:
    """Logits (batch, labels), and all rows behind the last norm with its gain and bias (batch, rows, width)."""

    logits: torch.Tensor
    features: torch.Tensor


def whole(spec: ModelSpec) -> Model:
    """The parts of a model whose last layer computes all rows, also those that no class depends on."""
    model = build(spec)
    return replace(model, head=replace(model.head, first=0))


def see(
    model: Model, parameters: Mapping[str, torch.Tensor], pixels: torch.Tensor, engine: Engine = ClearOps
) -> Seen:
    """What parameters, unfolded and under our names, say of images (batch, channels, height, width).

    They are folded in every pass, so that gradients reach them through the fold.
    """
    weights = fold_tensors(model.spec, parameters)
    ops = engine(weights, embedded_patches(weights, pixels, model.spec.patches))
    rows = ORDERS[model.spec.order].run(ops, model, None)
    assert rows is not None
    with ops.at(model.head.label):
        logits = HEADS[model.spec.task](ops, model, rows)
    gain, bias = (parameters[f"head.norm.{name}"] for name in ("gain", "bias"))
    return Seen(logits[:, 0], rows * gain + bias)
