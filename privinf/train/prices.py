"""What a choice costs in seconds: a part for each head or row that is dear, and one for a layer that has any such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Price:
    """Seconds of one layer: `any` once, as its rounds are shared, and `each` for every head or row that is dear."""

    any: float
    each: float

    def of(self, count: int) -> float:
        return self.any + self.each * count if count else 0.0


def sums(values: Sequence[float]) -> list[float]:
    """Of the largest values: of none of them, of one, of two, ..."""
    made = [0.0]
    for value in sorted(values, reverse=True):
        made.append(made[-1] + max(value, 0.0))
    return made


def counts_at(values: Sequence[Sequence[float]], prices: Sequence[Price], weight: float) -> tuple[int, ...]:
    """How many of each layer, where a second is worth `weight` of value; of equals the fewer."""
    made = []
    for row, price in zip(values, prices, strict=True):
        gains = [total - weight * price.of(count) for count, total in enumerate(sums(row))]
        made.append(gains.index(max(gains)))
    return tuple(made)


def frontier(values: Sequence[Sequence[float]], prices: Sequence[Price]) -> list[tuple[int, ...]]:
    """All choices that are best at some worth of a second, from none to all."""
    slopes = {0.0}
    for row, price in zip(values, prices, strict=True):
        totals = sums(row)
        for few in range(len(totals)):
            for many in range(few + 1, len(totals)):
                if (dearer := price.of(many) - price.of(few)) > 0:
                    slopes.add((totals[many] - totals[few]) / dearer)
    ordered = sorted(slopes)
    between = [(a + b) / 2 for a, b in pairwise(ordered)] + [ordered[-1] * 2 + 1]
    made = [counts_at(values, prices, weight) for weight in between]
    return list(dict.fromkeys(reversed(made)))


def difference(none: float, one: float, all: float, count: int) -> Price:
    """From seconds with none that is dear, with one, and with all of so many."""
    each = max(all - one, 0.0) / (count - 1) if count > 1 else 0.0
    return Price(max(one - none - each, 0.0), each)
