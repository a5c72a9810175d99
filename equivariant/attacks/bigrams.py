"""Deciphers a substitution of tokens by their neighbours, growing outwards from the most frequent ones.

Two symbols stand for the same token where they stand as often before and after those deciphered already. Shares of
neighbours are compared by the Hellinger distance, frequencies by the square of their logarithms' difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Guess

F32 = npt.NDArray[np.float32]
KNOWN = 3000  # of the most frequent symbols are deciphered by their neighbours; the others keep their rank
SLACK = 1.25  # so many times more tokens are tried
RANKED = 100
# How many symbols are anchors in each round, and what frequency weighs: much at first, when few anchors are known.
ROUNDS = (
    (30, 0.2),
    (50, 0.1),
    (100, 0.05),
    (200, 0.03),
    (400, 0.02),
    (800, 0.02),
    (1600, 0.02),
    (3000, 0.02),
)
TURNS = 30  # of handing out tokens, each to the symbol closest to it


@dataclass(frozen=True, eq=False)
class Corpus:
    """Counts of a text: of each symbol, and the text itself with a gap of -1 after each part."""

    counts: Ids = field(repr=False)
    order: Ids = field(repr=False)
    stream: Ids = field(repr=False)

    @classmethod
    def of(cls, texts: Sequence[Ids], symbols: int) -> Corpus:
        stream = np.concatenate([np.append(text, -1) for text in texts])
        counts = np.bincount(stream[stream >= 0], minlength=symbols)
        return cls(counts, np.argsort(-counts, kind="stable"), stream)

    def pairs(self, most: int) -> F32:
        """How often one of the most frequent symbols follows another, by their ranks: (most, most)."""
        rank = np.full(len(self.counts) + 1, -1)
        rank[self.order[:most]] = np.arange(most)
        before, after = rank[self.stream[:-1]], rank[self.stream[1:]]
        both = (before >= 0) & (after >= 0)
        flat = np.bincount(before[both] * most + after[both], minlength=most * most)
        return flat.reshape(most, most).astype(np.float32)

    def seen(self, most: int) -> int:
        """How many of the most frequent symbols occur at all."""
        return min(most, int(np.count_nonzero(self.counts)))


def decipher(seen: Corpus, known: Corpus) -> Guess:
    """Tokens for every symbol that occurs."""
    most = seen.seen(KNOWN)
    most_known = known.seen(int(SLACK * KNOWN))
    match = _Match(seen, known, most, most_known)
    order = np.arange(most) % most_known
    for anchors, weight in ROUNDS:
        usable = np.flatnonzero(order[: min(anchors, most)] >= 0)
        distance = match.distance(usable, order[usable], weight)
        order = hand_out(distance)
    ranked = np.argsort(distance, axis=1, kind="stable")[:, :RANKED]
    first = np.where(order >= 0, order, ranked[:, 0])
    plain = known.order[np.concatenate([first[:, None], ranked], axis=1)[:, :RANKED]]
    return Guess(*_with_rest(seen, known, most, plain, known.order[first]), stream=True)


def hand_out(distance: F32) -> Ids:
    """The token of each symbol, none given twice: in turns, each to the closest of those that want it."""
    left = distance.copy()
    given = np.full(len(left), -1)
    for _ in range(TURNS):
        free = np.flatnonzero(given < 0)
        best = left[free].argmin(1)
        value = left[free, best]
        wanting = np.argsort(value, kind="stable")
        wanting = wanting[np.isfinite(value[wanting])]
        if not len(wanting):
            break
        _, first = np.unique(best[wanting], return_index=True)
        winners = wanting[first]
        given[free[winners]] = best[winners]
        left[:, best[winners]] = np.inf
    return given


class _Match:
    """Neighbours of symbols and of tokens, ready to be compared."""

    def __init__(self, seen: Corpus, known: Corpus, most: int, most_known: int) -> None:
        self._ours, self._theirs = _shares(seen, most), _shares(known, most_known)
        self._logs = _logs(seen, most)[:, None] - _logs(known, most_known)[None]

    def distance(self, anchors: Ids, tokens: Ids, weight: float) -> F32:
        """(symbols, tokens), where these anchors stand for these tokens."""
        ours = np.concatenate([part[:, anchors] for part in self._ours], axis=1)
        theirs = np.concatenate([part[:, tokens] for part in self._theirs], axis=1)
        apart = np.square(ours).sum(1)[:, None] + np.square(theirs).sum(1)[None] - 2 * (ours @ theirs.T)
        found: F32 = apart + weight * np.square(self._logs)
        return found


def _shares(corpus: Corpus, most: int) -> tuple[F32, F32]:
    """Roots of how large a part of a symbol's neighbours each other one is, after it and before it."""
    pairs = corpus.pairs(most)
    counts = corpus.counts[corpus.order[:most]].astype(np.float32)[:, None]
    return np.sqrt(pairs / counts), np.sqrt(pairs.T / counts)


def _logs(corpus: Corpus, most: int) -> F32:
    counts = corpus.counts[corpus.order[:most]]
    logs: F32 = np.log(counts / corpus.counts.sum()).astype(np.float32)
    return logs


def _with_rest(seen: Corpus, known: Corpus, most: int, plain: Ids, taken: Ids) -> tuple[Ids, Ids]:
    """Rarer symbols take the tokens left over, by rank."""
    symbols = seen.order[: int(np.count_nonzero(seen.counts))]
    over = known.order[~np.isin(known.order, taken)]
    found = np.full((len(symbols), plain.shape[1]), -1)
    found[:most] = plain
    rest = min(len(symbols) - most, len(over))
    found[most : most + rest, 0] = over[:rest]
    return symbols, found
