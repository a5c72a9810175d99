"""Classes: logits of the first row, pooled where there is a layer for it, or those of two rows, added."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Model


def classify(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum:
    """Logits (batch, 1, labels)."""
    row, pooler, last = ops.first(x), model.head.pooler, model.head.logits
    if pooler is not None:
        row, last = ops.activate(ops.linear(row, pooler.up), pooler), pooler.down
    assert last is not None
    logits = ops.linear(row, last)
    if model.head.also is not None:
        logits = ops.add(logits, ops.linear(ops.tail(ops.first(x, 2), 1), model.head.also))
    return ops.answer(logits, model.head)


ENTRY = classify
