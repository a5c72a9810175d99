"""Deciphers a substitution of tokens by their neighbours, growing outwards from the most frequent ones.

First the most frequent symbols among themselves; then rarer ones, block by block, with those for neighbours.
Two symbols stand for the same token where they stand as often before and after those deciphered already. Shares of
neighbours are compared by the Hellinger distance, frequencies by the square of their logarithms' difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Guess
from privinf.equivariant.attacks.weights import F32

KNOWN = 3000  # of the most frequent symbols are deciphered by one another
BLOCK, BLOCKS = 3000, 2  # rarer symbols at once, and how often; the others keep their rank
OFTEN = 5  # so often a symbol occurs at least, for its neighbours to say something
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

    def pairs(self, rows: Ids, neighbours: Ids) -> F32:
        """How often each of the neighbours follows each symbol of the rows, then how often it precedes it."""
        row, column, shape = self._places(rows), self._places(neighbours), (len(rows), len(neighbours))
        before, after = self.stream[:-1], self.stream[1:]
        following = _counted(row[before], column[after], shape)
        return np.hstack((following, _counted(row[after], column[before], shape)))

    def shares(self, rows: Ids, neighbours: Ids) -> F32:
        """Roots of how large a part of a symbol's neighbours each is."""
        counts = np.maximum(self.counts[rows], 1).astype(np.float32)
        return np.asarray(np.sqrt(self.pairs(rows, neighbours) / counts[:, None]))

    def logs(self, rows: Ids) -> F32:
        """Of how frequent symbols are."""
        return np.asarray(np.log(np.maximum(self.counts[rows], 0.5) / self.counts.sum()), dtype=np.float32)

    def _places(self, symbols: Ids) -> Ids:
        """Of every symbol among these, -1 elsewhere; the last is that of the gap."""
        places = np.full(len(self.counts) + 1, -1)
        places[symbols] = np.arange(len(symbols))
        return places

    def seen(self, most: int) -> int:
        """How many of the most frequent symbols occur at all."""
        return min(most, int(np.count_nonzero(self.counts)))


def deciphered(seen: Corpus, known: Corpus) -> tuple[Guess, float]:
    """Tokens for every symbol that occurs, and the part of the stream whose symbols' neighbours were looked at."""
    most = seen.seen(KNOWN)
    symbols, tokens = seen.order[:most], known.order[: known.seen(int(SLACK * KNOWN))]
    plain = _core(seen, known, symbols, tokens)
    anchors, meanings = symbols, plain[:, 0]
    for _ in range(BLOCKS):
        rare = seen.order[len(symbols) : len(symbols) + BLOCK]
        rare = rare[seen.counts[rare] >= OFTEN]
        if len(symbols) < KNOWN or not len(rare):
            break
        left = known.order[: known.seen(int(SLACK * (len(symbols) + len(rare))))]
        left = left[~np.isin(left, plain[:, 0])]
        if not len(left):
            break
        plain = np.concatenate([plain, _block(seen, known, rare, left, anchors, meanings)])
        symbols = seen.order[: len(symbols) + len(rare)]
    covered = float(seen.counts[symbols].sum() / seen.counts.sum())
    return Guess(*_with_rest(seen, known, plain), stream=True), covered


def _core(seen: Corpus, known: Corpus, symbols: Ids, tokens: Ids) -> Ids:
    """Tokens of the most frequent symbols, best first: round after round with more anchors."""
    ours, theirs = seen.shares(symbols, symbols), known.shares(tokens, tokens)
    logs, order = (
        seen.logs(symbols)[:, None] - known.logs(tokens)[None],
        np.arange(len(symbols)) % len(tokens),
    )
    for anchors, weight in ROUNDS:
        usable = np.flatnonzero(order[: min(anchors, len(symbols))] >= 0)
        distance = _apart(_beside(ours, usable), _beside(theirs, order[usable]), logs, weight)
        order = hand_out(distance)
    return tokens[_ranked(distance, order)]


def _block(seen: Corpus, known: Corpus, symbols: Ids, tokens: Ids, anchors: Ids, meanings: Ids) -> Ids:
    """Tokens of rarer symbols, best first, by neighbours that are deciphered already."""
    ours, theirs = seen.shares(symbols, anchors), known.shares(tokens, meanings)
    distance = _apart(ours, theirs, seen.logs(symbols)[:, None] - known.logs(tokens)[None], ROUNDS[-1][1])
    return tokens[_ranked(distance, hand_out(distance))]


def _ranked(distance: F32, order: Ids) -> Ids:
    """Places of tokens for each symbol: what it was handed, then by distance."""
    ranked = np.argsort(distance, axis=1, kind="stable")[:, :RANKED]
    first = np.where(order >= 0, order, ranked[:, 0])
    joined = np.concatenate([first[:, None], ranked], axis=1)[:, :RANKED]
    return np.pad(joined, ((0, 0), (0, max(0, RANKED - joined.shape[1]))), mode="edge")


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


def _beside(shares: F32, places: Ids) -> F32:
    """Of shares of all neighbours, after and before, those of the neighbours at these places."""
    return np.concatenate([side[:, places] for side in np.split(shares, 2, axis=1)], axis=1)


def _apart(ours: F32, theirs: F32, logs: F32, weight: float) -> F32:
    found: F32 = np.square(ours).sum(1)[:, None] + np.square(theirs).sum(1)[None] - 2 * (ours @ theirs.T)
    found += weight * np.square(logs)
    return found


def _counted(rows: Ids, columns: Ids, shape: tuple[int, int]) -> F32:
    """How often each pair of places comes."""
    both = (rows >= 0) & (columns >= 0)
    flat = np.bincount(rows[both] * shape[1] + columns[both], minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float32)


def _with_rest(seen: Corpus, known: Corpus, plain: Ids) -> tuple[Ids, Ids]:
    """Still rarer symbols take the tokens left over, by rank."""
    symbols, most = seen.order[: int(np.count_nonzero(seen.counts))], len(plain)
    over = known.order[~np.isin(known.order, plain[:, 0])]
    found = np.full((len(symbols), plain.shape[1]), -1)
    found[:most] = plain
    rest = min(len(symbols) - most, len(over))
    found[most : most + rest, 0] = over[:rest]
    return symbols, found
