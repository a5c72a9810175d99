"""Embeddings: the first row, or what stands for the mean of those that are real."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Model


def embed(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum:
    """Embeddings (batch, 1, width), not yet scaled to unit length: in shares of a mean the client divides."""
    return ops.answer(ops.pool(x, model.head), model.head)


ENTRY = embed
