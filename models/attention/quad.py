"""2Quad: squares of scores over their sum and eps, without a shift; Li et al., MPCFormer (ICLR 2023)."""

from __future__ import annotations

from collections.abc import Generator

from privinf.models.attention import Variant
from privinf.models.attention._plain import Weights, limits, tables
from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention

WEIGHTS = Weights("quad", 2, ((12, 18), (11, 16), (10, 14), (9, 12)))


def attend(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Generator[None, None, Rows]:
    """Four rounds behind the queries' own: scores, weights, mixed values with sums, what is divided."""
    scores = ops.plain(part, ops.scores(part, heads.queries, heads.keys))
    yield
    weights = ops.squared(part, scores)
    yield
    mixed, inverse = ops.averaged(part, weights, heads.values, WEIGHTS.eps)
    yield
    return ops.divided(part, mixed, inverse)


ENTRY = Variant(attend, WEIGHTS.rings, tables, limits, fixed=True)
