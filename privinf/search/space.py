"""What may be chosen: how many heads of each layer are dear, and how many of its rows; the supernet says which ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from privinf.train.architecture import Architecture, Bend, best, kept
from privinf.train.prices import Price, frontier

if TYPE_CHECKING:
    from optuna import Trial

RICH, CHEAP = "relu_softmax", "scaling"
BENT, STRAIGHT = "gelu", "linear"
RATIOS = (0.1, 0.3, 0.5, 0.7)  # of dear heads, as in the paper
Values = tuple[tuple[float, ...], ...]
Counts = dict[str, int]


@dataclass(frozen=True)
class Space:
    """alphas: of each layer, of each head, or one of all. betas: of each row or one of all, or none where all are GELU.

    prices: of the heads of each layer, and bends of its rows.
    """

    heads: int
    alphas: Values
    prices: tuple[Price, ...]
    betas: Values = ()
    bends: tuple[Price, ...] = ()

    @property
    def grain(self) -> Literal["head", "layer"]:
        return "layer" if len(self.alphas[0]) == 1 else "head"

    def suggest(self, trial: Trial) -> Architecture:
        """The architecture that a trial draws."""
        return self.made({name: trial.suggest_int(name, 0, most) for name, most in self.most().items()})

    def most(self) -> Counts:
        """The largest value of each number that a trial draws; the least is none."""
        heads = {f"heads{i}": len(row) for i, row in enumerate(self.alphas)}
        return heads | {f"rows{i}": len(row) for i, row in enumerate(self.betas)}

    def made(self, counts: Mapping[str, int]) -> Architecture:
        """So many of each layer, the ones of the largest values."""
        chosen = best(self.alphas, [counts[f"heads{i}"] for i in range(len(self.alphas))])
        heads = [_spread(row, self.heads) for row in chosen]
        rows = best(self.betas, [counts[f"rows{i}"] for i in range(len(self.betas))])
        bends: list[Bend] = [_bend(row) for row in rows] or [BENT] * len(heads)
        return Architecture(
            tuple(tuple(RICH if dear else CHEAP for dear in row) for row in heads), tuple(bends)
        )

    def first(self) -> list[Counts]:
        """What is tried first: the best by seconds, from the cheapest to the dearest, and the paper's choices."""
        rows = frontier(self.betas, self.bends) if self.betas else [()]
        made = [self._counts(heads, rows[-1]) for heads in frontier(self.alphas, self.prices)]
        made += [self._counts(_many(kept(self.alphas, ratio)), rows[-1]) for ratio in RATIOS]
        made += [self._counts(_many(kept(self.alphas, 0.5)), choice) for choice in rows[:-1]]
        return [dict(pairs) for pairs in dict.fromkeys(tuple(counts.items()) for counts in made)]

    def _counts(self, heads: Sequence[int], rows: Sequence[int]) -> Counts:
        named = {f"heads{i}": count for i, count in enumerate(heads)}
        return named | {f"rows{i}": count for i, count in enumerate(rows)}


def _many(chosen: Sequence[Sequence[bool]]) -> list[int]:
    return [sum(row) for row in chosen]


def _spread(row: Sequence[bool], heads: int) -> Sequence[bool]:
    return list(row) * heads if len(row) == 1 else row


def _bend(row: Sequence[bool]) -> Bend:
    if all(row) or not any(row):
        return BENT if row[0] else STRAIGHT
    return tuple(BENT if bent else STRAIGHT for bent in row)
