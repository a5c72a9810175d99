"""ReLU-softmax: scores where they are positive, over their sum and eps; Zeng et al., MPCViT (ICCV 2023)."""

from __future__ import annotations

from collections.abc import Generator

from privinf.models.attention import Variant
from privinf.models.attention._plain import Weights, limits, tables
from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention

WEIGHTS = Weights("relu_softmax", 1, ((18, 18), (16, 16), (14, 14), (12, 12)))


def attend(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Generator[None, None, Rows]:
    """Five rounds behind the queries' own: scores, their signs, weights, mixed values with sums, what is divided."""
    scores = ops.plain(part, ops.scores(part, heads.queries, heads.keys))
    yield
    which = ops.positive(part, scores)
    yield
    weights = ops.kept(part, which, scores)
    yield
    mixed, inverse = ops.averaged(part, weights, heads.values, WEIGHTS.eps)
    yield
    return ops.divided(part, mixed, inverse)


ENTRY = Variant(attend, WEIGHTS.rings, tables, limits, fixed=True)
