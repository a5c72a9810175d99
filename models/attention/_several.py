"""Heads of several variants side by side: each opens what it opens in the rounds of all."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import chain

from privinf.models.attention import VARIANTS, Parts, Variant
from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention
from privinf.models.plan.ranges import Limits
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import Scales

Groups = dict[str, list[int]]


def groups(named: tuple[str, ...]) -> Groups:
    """The heads of each variant, by its name."""
    found: Groups = {}
    for head, name in enumerate(named):
        found.setdefault(name, []).append(head)
    return found


@cache
def of(named: tuple[str, ...]) -> Variant:
    """What is asked of the whole is asked of each; it has no factor, as every head has its own."""
    variants = {name: VARIANTS[name] for name in groups(named)}

    def rings(site: str, high: Mapping[str, float], most: int, outer: int, scales: Scales) -> AttentionRings:
        return _joined([v.rings(site, high, most, outer, scales) for v in variants.values()])

    def tables(part: Attention, scales: Scales, tokens: int) -> Iterator[tuple[str, Parts]]:
        return chain.from_iterable(v.tables(part, scales, tokens) for v in variants.values())

    def limits(part: Attention, scales: Scales, tokens: int) -> Limits:
        found: Limits = {}
        for variant in variants.values():
            found |= variant.limits(part, scales, tokens)
        return found

    return Variant(attend, rings, tables, limits, fixed=any(v.fixed for v in variants.values()))


def attend(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Generator[None, None, Rows]:
    """Stage by stage: where one variant waits for a round, the others open what they have."""
    assert isinstance(part.variant, tuple)
    found = groups(part.variant)
    under_way = {
        name: VARIANTS[name].attend(ops, _group(part, name, some), _picked(ops, heads, some))
        for name, some in found.items()
    }
    done: dict[str, Rows] = {}
    while under_way:
        for name, stages in tuple(under_way.items()):
            try:
                next(stages)
            except StopIteration as end:
                done[name] = end.value
                del under_way[name]
        if under_way:
            yield
    order = [head for some in found.values() for head in some]
    return ops.together(part, [done[name] for name in found], order)


def _group(part: Attention, name: str, heads: list[int]) -> Attention:
    return replace(part, variant=name, heads=len(heads), kv_heads=len(heads))


def _picked(ops: Ops[Sum, Rows], heads: Heads[Rows], which: list[int]) -> Heads[Rows]:
    return Heads(*(ops.pick(x, which) for x in (heads.queries, heads.keys, heads.values)))


def _joined(each: list[AttentionRings]) -> AttentionRings:
    """The widest of what they share; of softmax's own, those of the one which has them."""
    base = next((rings for rings in each if not rings.plain), each[0])
    wide = {
        name: max(getattr(rings, name) for rings in each)
        for name in ("narrow_bits", "query_bits", "key_bits")
    }
    return replace(base, **wide, plain=tuple(own for rings in each for own in rings.plain))
