"""What attention without exponentials has in common: rings of its scores, weights and sums, and their limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from privinf.errors import ModelError
from privinf.models.attention import Parts
from privinf.models.parts import Attention, planned
from privinf.models.plan.ranges import HEADROOM, Limits, bits_for, held
from privinf.models.plan.rings import LEAST, AttentionRings, PlainRings
from privinf.models.plan.scales import Scales
from privinf.protocols import ring

EPS = 1e-5  # beside a row's sum of weights
# The same on shares, as 2^-FLOOR: mixed values are a unit off before they are multiplied by up to 1 / eps
FLOOR = 12
LOG2_E = 1 / math.log(2)  # scores are in base two
MIXED = (20, 18, 16, 14, 12, 10)  # fraction bits of mixed values before they are divided: the first that fits


@dataclass(frozen=True)
class Weights:
    """How scores become weights. power: of scores. fine: fraction bits of both, scores first: the first that fits."""

    variant: str
    power: int
    fine: Sequence[tuple[int, int]]

    @property
    def eps(self) -> float:
        """As it stands beside sums of powers of scores in base two."""
        return EPS * LOG2_E**self.power

    def rings(
        self, site: str, high: Mapping[str, float], max_tokens: int, outer: int, scales: Scales
    ) -> AttentionRings:
        """Those of weights that are divided by their sum, the finest that 64 bits hold."""
        for (scores, fine), mixed in product(self.fine, MIXED):
            made = self._made(site, high, scores, fine, mixed, scales)
            try:
                fits = outer + made.drop(scales) <= ring.MAX_BITS
            except ValueError:
                continue
            if fits and made.bits + self.power * scores - fine <= ring.MAX_BITS:
                return whole(site, high, outer, scales, made)
        raise ModelError(f"{site}: values too large for {self.variant} attention over {max_tokens} rows")

    def _made(
        self, site: str, high: Mapping[str, float], scores: int, fine: int, mixed: int, scales: Scales
    ) -> PlainRings:
        """A score that is larger by the headroom makes a weight that is larger by its power."""
        own, headroom = f"{site}.{self.variant}", self.power * HEADROOM
        total = math.ceil(math.log2(max(high[f"{own}.sum"], 2.0**-fine))) + headroom + fine
        bits = bits_for(high[f"{own}.mixed"], fine + scales.values, headroom)
        return PlainRings(
            self.variant,
            scores,
            bits_for(high[f"{own}.scores"], scores),
            max(bits, total + 2),
            fine,
            max(total, fine - FLOOR + 1, LEAST + 1),
            1 << max(fine - FLOOR, LEAST),
            mixed,
        )


def whole(
    site: str,
    high: Mapping[str, float],
    outer: int,
    scales: Scales,
    own: PlainRings,
    queries: int | None = None,
) -> AttentionRings:
    """The rings of an attention all of whose heads are of one such variant: nothing of softmax's counts.

    queries: of queries and keys, where that is not what scores need.
    """
    narrow = bits_for(high[f"{site}.v"], scales.values)
    queries = own.score_bits + scales.product - own.scores if queries is None else queries
    scores = queries - (scales.product - scales.scores)
    return AttentionRings(
        scores, 0, 0, 0, 0.0, narrow, max(own.bits, narrow), queries, queries, outer, DIGITS, (own,)
    )


DIGITS = 10


def limits(part: Attention, scales: Scales, tokens: int) -> Limits:
    """Of values, and of every such variant's scores and sums."""
    rings = planned(part.rings)
    found: Limits = {f"{part.site}.v": held(rings.narrow_bits, scales.values)}
    for own in rings.plain:
        found[f"{part.site}.{own.variant}.scores"] = held(own.score_bits, own.scores)
        if own.high:
            found[f"{part.site}.{own.variant}.sum"] = (0.0, 2.0 ** (own.high - own.weights))
    return found


def tables(part: Attention, scales: Scales, tokens: int) -> Iterator[tuple[str, Parts]]:
    """Inverse sums."""
    for own in planned(part.rings).plain:
        if own.high:
            yield repr(own.inverse()), []
