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

from privinf.errors import InputError
from privinf.speculation import Draft, PromptLookup

ORDERS = (1, 2, 3)  # tokens that a guess is made from; the longest run that is known counts
TWICE = 2  # a run seen once says nothing yet, but for the shortest
SEPARATOR = -1
Keys = npt.NDArray[np.uint64]
Tokens = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Table:
    """For runs of one length: the token that followed most often, by the run's key in ascending order."""

    keys: Keys
    following: Tokens

    def find(self, key: int) -> int | None:
        """What follows a run, if it is known."""
        place = int(np.searchsorted(self.keys, np.uint64(key)))
        if place < len(self.keys) and int(self.keys[place]) == key:
            return int(self.following[place])
        return None


class NgramDraft:
    """Proposes what followed most often in the text it was made of.

    `copies` is asked first: text that repeats itself is foretold better by itself.
    """

    def __init__(self, tables: Sequence[Table], vocab: int, copies: Draft | None = None) -> None:
        self._tables, self._vocab = tuple(tables), vocab
        self._copies = PromptLookup(max_ngram=4) if copies is None else copies

    @classmethod
    def learn(cls, texts: Iterable[Sequence[int]], vocab: int, copies: Draft | None = None) -> NgramDraft:
        """Count runs in tokenised texts; a run never spans two of them."""
        joined: list[npt.NDArray[np.int64]] = []
        for text in texts:
            joined += [np.asarray(text, dtype=np.int64), np.array([SEPARATOR])]
        if not joined:
            raise InputError("no text to learn from")
        stream = np.concatenate(joined)
        return cls([_count(stream, order, vocab) for order in ORDERS], vocab, copies)

    def propose(self, ids: Sequence[int], count: int) -> list[int]:
        """A copy of earlier text where there is one, then guess upon guess."""
        proposed = [int(token) for token in self._copies.propose(ids, count)]
        known = [*ids[-max(ORDERS) :], *proposed][-max(ORDERS) :]
        while len(proposed) < count and (token := self._next(known)) is not None:
            proposed.append(token)
            known = [*known, token][-max(ORDERS) :]
        return proposed

    def _next(self, known: Sequence[int]) -> int | None:
        for order, table in zip(reversed(ORDERS), reversed(self._tables), strict=True):
            if len(known) >= order and (token := table.find(_key(known[-order:], self._vocab))) is not None:
                return token
        return None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Keep it; the file holds nothing of a conversation."""
        arrays: dict[str, Any] = {"vocab": np.array([self._vocab])}
        for order, table in zip(ORDERS, self._tables, strict=True):
            arrays |= {f"keys{order}": table.keys, f"following{order}": table.following}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocab: int) -> NgramDraft:
        """Read what `save` wrote; InputError for a file that is none, or of another tokenizer."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = int(stored["vocab"][0])
                tables = [
                    Table(stored[f"keys{n}"].astype(np.uint64), stored[f"following{n}"].astype(np.uint32))
                    for n in ORDERS
                ]
        except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path} is no draft: make one with `privinf draft`") from error
        if any(len(t.keys) != len(t.following) or not (t.keys[1:] > t.keys[:-1]).all() for t in tables):
            raise InputError(f"{path} is damaged: make it anew with `privinf draft`")
        if found != vocab or any(int(t.following.max(initial=0)) >= vocab for t in tables):
            raise InputError(f"{path} was made for a model of {found} tokens, and this one has {vocab}")
        return cls(tables, vocab)


def _key(run: Sequence[int], vocab: int) -> int:
    key = 0
    for token in run:
        key = key * vocab + int(token)
    return key


def _count(stream: npt.NDArray[np.int64], order: int, vocab: int) -> Table:
    """The most frequent follower of each run of `order` tokens."""
    if vocab**order >= 1 << 64:
        raise InputError(f"runs of {order} tokens of {vocab} have too many keys")
    runs = max(len(stream) - order, 0)
    columns = [stream[start:][:runs] for start in range(order + 1)]
    whole = np.all(np.stack(columns) != SEPARATOR, axis=0)
    keys = np.zeros(int(whole.sum()), dtype=np.uint64)
    for column in columns[:-1]:
        keys = keys * np.uint64(vocab) + column[whole].astype(np.uint64)
    return _most_frequent(keys, columns[-1][whole].astype(np.uint32), TWICE if order > 1 else 1)


def _most_frequent(keys: Keys, following: Tokens, least: int) -> Table:
    place = np.lexsort((following, keys))
    keys, following = keys[place], following[place]
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = (keys[1:] != keys[:-1]) | (following[1:] != following[:-1])
    starts = np.flatnonzero(fresh)
    counts = np.diff(np.append(starts, len(keys)))
    often = counts >= least
    keys, following, counts = keys[starts[often]], following[starts[often]], counts[often]
    best = np.lexsort((following, -counts, keys))
    keys, following = keys[best], following[best]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    return Table(keys[first], following[first])
