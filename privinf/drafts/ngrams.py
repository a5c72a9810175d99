"""A draft that knows what usually follows: short runs of tokens counted in public text, made and kept by a client."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.drafts.copies import copied
from privinf.drafts.guesses import Guesses
from privinf.drafts.speculation import Tree
from privinf.drafts.trees import grown
from privinf.errors import FileError, InputError

ORDERS = (1, 2, 3)  # tokens that a guess is made from; a longer run counts before a shorter one
TWICE = 2  # a run seen once says nothing yet, but for the shortest
BEST = 6  # followers kept of each run
NEW = 4.0  # how much each of them makes another one likely that was not seen
SEPARATOR = -1
KINDS = {"keys": np.uint64, "following": np.uint32, "counts": np.uint32, "totals": np.uint32}
Keys = npt.NDArray[np.uint64]
Tokens = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Table:
    """For runs of one length, by the run's key in ascending order: what followed most often, and how often.

    following, counts: (runs, BEST), most frequent first, counts of 0 where there are fewer. totals: (runs,).
    """

    keys: Keys
    following: Tokens
    counts: Tokens
    totals: Tokens

    def add(self, key: int, guesses: Guesses) -> None:
        """Tell what follows a run, if it is known."""
        place = int(np.searchsorted(self.keys, np.uint64(key)))
        if place == len(self.keys) or int(self.keys[place]) != key:
            return
        total, counts = int(self.totals[place]), self.counts[place]
        seen = int(np.count_nonzero(counts))
        following = dict(zip(self.following[place, :seen].tolist(), counts[:seen].tolist(), strict=True))
        guesses.add(total / (total + NEW * seen), following, total)

    @property
    def sound(self) -> bool:
        """Whether the parts fit together."""
        rows = self.keys.size
        shapes = self.keys.shape == self.totals.shape == (rows,)
        if not shapes or not self.following.shape == self.counts.shape == (rows, BEST):
            return False
        counts = self.counts.astype(np.int64)
        falling = (counts[:, 1:] <= counts[:, :-1]).all() and (counts[:, 0] > 0).all()
        return bool(
            falling and (counts.sum(1) <= self.totals).all() and (self.keys[1:] > self.keys[:-1]).all()
        )


class NgramDraft:
    """Proposes what followed most often: in the text at hand, then in the text that it was made of."""

    def __init__(self, tables: Sequence[Table], vocab: int, copies: bool = True) -> None:
        self._tables, self._vocab, self._copies = tuple(tables), vocab, copies

    @classmethod
    def learn(cls, texts: Iterable[Sequence[int]], vocab: int, copies: bool = True) -> NgramDraft:
        """Count runs in tokenised texts; a run never spans two of them."""
        joined: list[npt.NDArray[np.int64]] = []
        for text in texts:
            joined += [np.asarray(text, dtype=np.int64), np.array([SEPARATOR])]
        if not joined:
            raise InputError("no text to learn from")
        stream = np.concatenate(joined)
        return cls([_count(stream, order, vocab) for order in ORDERS], vocab, copies)

    def rank(self, ids: Sequence[int], most: int) -> list[int]:
        """At most so many tokens that may follow, likeliest first."""
        guesses = Guesses()
        if self._copies:
            copied(ids, guesses)
        for order, table in zip(reversed(ORDERS), reversed(self._tables), strict=True):
            if len(ids) >= order:
                table.add(_key(ids[-order:], self._vocab), guesses)
        return guesses.best(most)

    def propose(self, ids: Sequence[int], count: int) -> list[int]:
        """Guess upon guess, each the likeliest."""
        proposed: list[int] = []
        while len(proposed) < count and (best := self.rank([*ids, *proposed], 1)):
            proposed += best
        return proposed

    def grow(self, ids: Sequence[int], count: int) -> Tree:
        """The likeliest guesses, and some of the next best."""
        return grown(self.rank, ids, count)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Keep it; the file holds nothing of a conversation. FileError where it cannot be written."""
        arrays: dict[str, Any] = {"vocab": np.array([self._vocab])}
        for order, table in zip(ORDERS, self._tables, strict=True):
            arrays |= {f"{name}{order}": getattr(table, name) for name in KINDS}
        try:
            np.savez_compressed(path, **arrays)
        except OSError as error:
            raise FileError.unwritten(path, error) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocab: int) -> NgramDraft:
        """Read what `save` wrote; InputError for a file that is none, or of another tokenizer."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = int(stored["vocab"][0])
                tables = [_table(stored, order) for order in ORDERS]
        except OSError as error:
            raise FileError.unread(path, error) from error
        except (EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path} is not a draft: make one with `privinf draft`") from error
        if not all(table.sound for table in tables):
            raise InputError(f"{path} is damaged: make it again with `privinf draft`")
        if found != vocab or any(int(table.following.max(initial=0)) >= vocab for table in tables):
            raise InputError(f"{path} was made for a model of {found} tokens, and this one has {vocab}")
        return cls(tables, vocab)


def _table(stored: Any, order: int) -> Table:
    return Table(**{name: stored[f"{name}{order}"].astype(kind) for name, kind in KINDS.items()})


def _key(run: Sequence[int], vocab: int) -> int:
    key = 0
    for token in run:
        key = key * vocab + int(token)
    return key


def _count(stream: npt.NDArray[np.int64], order: int, vocab: int) -> Table:
    """The most frequent followers of each run of `order` tokens."""
    if vocab**order >= 1 << 64:
        raise InputError(f"runs of {order} tokens of {vocab} have too many keys")
    runs = max(len(stream) - order, 0)
    columns = [stream[start:][:runs] for start in range(order + 1)]
    whole = np.all(np.stack(columns) != SEPARATOR, axis=0)
    keys = np.zeros(int(whole.sum()), dtype=np.uint64)
    for column in columns[:-1]:
        keys = keys * np.uint64(vocab) + column[whole].astype(np.uint64)
    return _most_frequent(keys, columns[-1][whole], vocab, TWICE if order > 1 else 1)


def _most_frequent(keys: Keys, following: npt.NDArray[np.int64], vocab: int, least: int) -> Table:
    known, run = np.unique(keys, return_inverse=True)
    pairs, counts = np.unique(run * vocab + following, return_counts=True)
    run, following = np.divmod(pairs, vocab)
    totals = np.bincount(run, counts).astype(np.uint32)
    best = np.lexsort((-counts, run))  # of equally frequent ones the smaller token
    rank = np.arange(len(run)) - np.searchsorted(run, run)  # as each run has the places that it had
    kept = (rank < BEST) & (counts[best] >= least)
    best, rank = best[kept], rank[kept]
    found, row = np.unique(run[best], return_inverse=True)
    tokens, often = (np.zeros((len(found), BEST), dtype=np.uint32) for _ in range(2))
    tokens[row, rank], often[row, rank] = following[best], counts[best]
    return Table(known[found], tokens, often, totals[found])
