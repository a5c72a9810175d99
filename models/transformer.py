"""Transformers, written once: what the orders of a block have in common, over `ops`, which gives it a meaning."""

from __future__ import annotations

from privinf.models.attention import VARIANTS
from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Attention, FeedForward


def attend(ops: Ops[Sum, Rows], part: Attention, rows: Rows) -> Sum:
    """Attention on normalised rows."""
    q, k, v = (ops.linear(rows, projection) for projection in (part.q, part.k, part.v))
    heads = ops.heads(part, q, k, v)
    return ops.linear(VARIANTS[part.variant].attend(ops, part, heads), part.out)


def feed(ops: Ops[Sum, Rows], part: FeedForward, rows: Rows) -> Sum:
    """The feed-forward part on normalised rows."""
    if part.gate is not None:
        hidden = ops.gate(ops.linear(rows, part.gate), ops.linear(rows, part.up), part)
    else:
        hidden = ops.activate(ops.linear(rows, part.up), part)
    return ops.linear(hidden, part.down)
