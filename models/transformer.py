"""Transformers, written once: what the orders of a block have in common, over `ops`, which gives it a meaning."""

from __future__ import annotations

from privinf.models.attention import run, variant_of
from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention, FeedForward


def attend(ops: Ops[Sum, Rows], part: Attention, rows: Rows, asking: Rows | None = None) -> Sum:
    """Attention on normalised rows, of all of them or of those that are asking."""
    mixed = run(variant_of(part.variant).attend(ops, part, heads(ops, part, rows, asking)))
    return ops.linear(mixed, part.out)


def heads(ops: Ops[Sum, Rows], part: Attention, rows: Rows, asking: Rows | None = None) -> Heads[Rows]:
    """Keys and values of all rows, queries of all or of those that are asking."""
    q = ops.linear(rows if asking is None else asking, part.q)
    return ops.heads(part, q, ops.linear(rows, part.k), ops.linear(rows, part.v))


def feed(ops: Ops[Sum, Rows], part: FeedForward, rows: Rows, first: int = 0) -> Sum:
    """The feed-forward part on normalised rows: all of them, or so many first ones."""
    if part.fused is None:
        return _bent(ops, part, rows)
    count = first or part.rows
    straight = [place for place in part.straight if place < count]
    bent = sorted({*range(count)} - {*straight})
    if not bent:
        return ops.linear(rows, part.fused)
    if not straight:
        return _bent(ops, part, rows)
    groups = (
        ops.linear(ops.some(rows, straight), part.fused),
        _bent(ops, part, ops.some(rows, bent)),
    )
    return ops.placed(groups, straight + bent)


def _bent(ops: Ops[Sum, Rows], part: FeedForward, rows: Rows) -> Sum:
    if part.gate is not None:
        hidden = ops.gate(ops.linear(rows, part.gate), ops.linear(rows, part.up), part)
    else:
        hidden = ops.activate(ops.linear(rows, part.up), part)
    return ops.linear(hidden, part.down)
