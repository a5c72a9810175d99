"""A model from its first layer's rows to its answer, over `ops`, which gives it a meaning."""

from __future__ import annotations

from privinf.models.heads import HEADS
from privinf.models.ops import Ops, Rows, Sum
from privinf.models.orders import ORDERS
from privinf.models.parts import Model


def ask(ops: Ops[Sum, Rows], model: Model, outputs: int | None = None) -> Sum | None:
    """What the client is given of the last `outputs` rows, or of all; none where 0 are wanted."""
    x = ORDERS[model.spec.order].run(ops, model, outputs)
    if x is None:
        return None
    with ops.at(model.head.label):
        return HEADS[model.spec.task](ops, model, x)
