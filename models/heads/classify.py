"""Classes: logits of the first row, pooled."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Model


def classify(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum:
    """Logits (batch, 1, labels)."""
    pooler = model.head.pooler
    assert pooler is not None
    pooled = ops.activate(ops.linear(ops.first(x), pooler.up), pooler)
    return ops.answer(ops.linear(pooled, pooler.down), model.head)


ENTRY = classify
