"""What follows: logits of each row that is answered."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Model


def generate(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum:
    """Logits (batch, rows, vocab), or what `answer` makes of them."""
    logits = model.head.logits
    assert logits is not None
    return ops.answer(ops.linear(x, logits), model.head)


ENTRY = generate
