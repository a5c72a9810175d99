"""Scaling attention: scores over the number of rows, signed, as weights; Zeng et al., MPCViT (ICCV 2023).

Queries have what the number of rows is not a power of two by, so that the rest is a change of scale.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

from privinf.errors import ModelError
from privinf.models.attention import Variant
from privinf.models.attention._plain import limits, tables, whole
from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention
from privinf.models.plan.ranges import bits_for
from privinf.models.plan.rings import AttentionRings, PlainRings
from privinf.models.plan.scales import Scales
from privinf.protocols import ring

FINE = (14, 13, 12, 11, 10)  # fraction bits of scores: the first that fits


def halvings(rows: int) -> int:
    """log2 of the power of two that is a part of the division by so many rows."""
    return rows.bit_length() - 1


def factor(rows: int) -> float:
    """The rest of it, and back from base two."""
    return math.log(2) * 2.0 ** halvings(rows) / rows


def attend(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Generator[None, None, Rows]:
    """Three rounds behind the queries' own, in either order: (q k) v, or q (k v) where heads are narrower than rows.

    Each has its scores, or its pairs, in a larger ring before they are multiplied on.
    """
    rows = ops.slots(heads.keys)
    if rows > part.head_width and ops.slots(heads.queries) == rows:
        return (yield from _in_linear_order(ops, part, heads, halvings(rows)))
    scores = ops.plain(part, ops.scores(part, heads.queries, heads.keys))
    yield
    weights = ops.lifted(part, scores)
    yield
    return ops.gathered(part, weights, heads.values, halvings(rows))


def _in_linear_order(
    ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows], down: int
) -> Generator[None, None, Rows]:
    """Nothing grows with the square of rows."""
    queries, keys = ops.lifted(part, heads.queries), ops.lifted(part, heads.keys)
    yield
    pairs = ops.paired(part, keys, heads.values)
    yield
    return ops.gathered(part, queries, pairs, down)


def rings(
    site: str, high: Mapping[str, float], max_tokens: int, outer: int, scales: Scales
) -> AttentionRings:
    """Those of signed weights, the finest that 64 bits hold; or of queries and pairs, where a calibration saw these."""
    if f"{site}.scaling.pairs" in high:
        return _of_pairs(site, high, max_tokens, outer, scales)
    for fine in FINE:
        scores = bits_for(high[f"{site}.scaling.scores"], fine)
        bits = max(_mixed(site, high, fine, max_tokens, outer, scales), scores)
        if bits <= ring.MAX_BITS:
            return whole(site, high, outer, scales, PlainRings("scaling", fine, scores, bits, fine))
    raise _too_large(site, max_tokens)


def _of_pairs(
    site: str, high: Mapping[str, float], max_tokens: int, outer: int, scales: Scales
) -> AttentionRings:
    """Keys times values are opened without the keys' fraction bits: their ring has as many more."""
    queries = max(bits_for(high[f"{site}.{name}"], scales.qk) for name in "qk")
    pairs = bits_for(high[f"{site}.scaling.pairs"], scales.values)
    bits = max(_mixed(site, high, scales.qk, max_tokens, outer, scales), pairs) + scales.qk
    if bits > ring.MAX_BITS:
        raise _too_large(site, max_tokens)
    own = PlainRings("scaling", scales.qk, queries, bits, scales.qk, pairs=True)
    return whole(site, high, outer, scales, own, queries)


def _mixed(
    site: str, high: Mapping[str, float], fine: int, max_tokens: int, outer: int, scales: Scales
) -> int:
    """The ring of what is mixed, from which the layer that follows is opened."""
    drop = fine + scales.values + halvings(max_tokens) - scales.outer
    return max(bits_for(high[f"{site}.scaling.mixed"], fine + scales.values), outer + max(drop, 0))


def _too_large(site: str, rows: int) -> ModelError:
    return ModelError(f"{site}: values too large for scaling attention over {rows} rows")


ENTRY = Variant(attend, rings, tables, limits, factor, fixed=True)
