"""Attention variants: a file each says how heads become mixed values, and in which rings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention
from privinf.models.plan.ranges import Limits
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import Scales
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.registry import Registry

Parts = list[bytes]  # of one table
Named = str | tuple[str, ...]  # of all heads, or one for each
E = TypeVar("E")


class Attend(Protocol):
    """Values mixed by attention (batch, rows, width), heads side by side, as the output layer takes them.

    It stops wherever it waits for a round, so that heads of other variants open theirs in the same one.
    """

    def __call__(
        self, ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]
    ) -> Generator[None, None, Rows]: ...


def _as_it_is(rows: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Variant:
    """One variant.

    attend: see there. rings: from site, magnitudes, most keys, ring of the layer that follows, and scales. tables: what
    dealer and parties look up, for so many keys, by a name under which equal tables are one: all roles must hold the
    same. limits: the magnitudes that its sites hold. factor: of queries, for so many rows, beside log2(e) / sqrt(head
    width). fixed: whether it is for rows of one known number alone, none of which is hidden from another.
    """

    attend: Attend
    rings: Callable[[str, Mapping[str, float], int, int, Scales], AttentionRings]
    tables: Callable[[Attention, Scales, int], Iterator[tuple[str, Parts]]]
    limits: Callable[[Attention, Scales, int], Limits]
    factor: Callable[[int], float] = _as_it_is
    fixed: bool = False


def run(stages: Generator[None, None, E]) -> E:
    """The result of what is alone in its rounds."""
    while True:
        try:
            next(stages)
        except StopIteration as done:
            result: E = done.value
            return result


def variant_of(named: Named) -> Variant:
    """Of all heads, be they of one variant or of several."""
    if isinstance(named, str):
        return VARIANTS[named]
    from privinf.models.attention import _several

    return _several.of(named)


def parts_of(factors: Factors) -> Parts:
    """A separable table as it is compared."""
    shape = (factors.first, factors.far, factors.scale, factors.near.shape)
    return [repr(shape).encode(), factors.payload.tobytes(), factors.near.tobytes()]


VARIANTS: Registry[Variant] = Registry("privinf.models.attention", "attention variant")
