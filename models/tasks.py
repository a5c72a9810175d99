"""What is asked of a model once rows have gone through its layers: an embedding, a class, what follows."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.orders import post, pre
from privinf.models.parts import Model


def embed(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum:
    """Embeddings (batch, 1, width), not yet scaled to unit length: in shares of a mean the client divides."""
    x = post.run(ops, model, x)
    with ops.at(model.head.label):
        return ops.answer(ops.pool(x, model.head), model.head)


def classify(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum:
    """Logits (batch, 1, labels) of the first row, pooled."""
    head, pooler = model.head, model.head.pooler
    assert pooler is not None, "this model has no classifier"
    x = post.run(ops, model, x)
    with ops.at(head.label):
        pooled = ops.activate(ops.linear(ops.first(x), pooler.up), pooler)
        return ops.answer(ops.linear(pooled, pooler.down), head)


def predict(ops: Ops[Sum, Rows], model: Model, x: Sum, rows: int) -> Sum:
    """What follows each of the last `rows` rows: logits (batch, rows, vocab), or what `answer` makes of them."""
    head = model.head
    assert head.norm is not None
    assert head.logits is not None, "this model does not generate"
    x = pre.run(ops, model, x)
    with ops.at(head.label):
        return ops.answer(ops.linear(ops.normalise(ops.last(x, rows), head.norm), head.logits), head)


TASKS = {"embed": embed, "classify": classify}
