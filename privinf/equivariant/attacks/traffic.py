"""What passes through a server, as symbols: covered ids or, where rows come instead, numbers of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.weights import F32


@dataclass(frozen=True, eq=False)
class Stream:
    """Everything that passed by in rows; what came in different pieces has different symbols, one after the other.

    Attributes:
        first: the first of these symbols.
        texts: symbols of each text.
        pieces: gives the distinct rows that came together, piece by piece, as all of them may be too many to hold.
        sessions: how many sessions they are of; pieces are positions where it is one, and else sessions.
    """

    first: int
    texts: list[Ids] = field(repr=False)
    pieces: Callable[[], Iterator[F32]] = field(repr=False)
    sessions: int


@dataclass(frozen=True, eq=False)
class Traffic:
    """What a server sees of its clients, as symbols: covered ids or, where rows come instead, places in `table`.

    Attributes:
        texts: symbols of each text that is scored, except by attacks on the whole stream.
        passing: symbols of all texts that pass by; none where they cannot be counted.
        sample: symbols of tokens drawn uniformly from the vocabulary, to be scored as vocabulary entries.
        pool: plain ids among which are those of the first symbols of the sample: published evaluations search in
            such a pool where the whole vocabulary takes too long.
        prompts: symbols of a few short texts.
        table: the distinct rows that came, (symbols, server width), or None where ids come.
        positions: of each row of the table in its text.
        sessions: the texts of a few sessions, where each has covers of its own; no symbol is in two.
        stream: all that came, where rows come.
        seed: of what attackers draw themselves.
    """

    texts: list[Ids] = field(repr=False)
    passing: list[Ids] = field(repr=False)
    sample: Ids = field(repr=False)
    pool: Ids = field(repr=False)
    prompts: list[Ids] = field(repr=False)
    table: F32 | None = field(default=None, repr=False)
    positions: Ids | None = field(default=None, repr=False)
    sessions: Sequence[list[Ids]] = field(default=(), repr=False)
    stream: Stream | None = field(default=None, repr=False)
    seed: int = 0

    @cached_property
    def targets(self) -> Ids:
        """All symbols that are scored."""
        return np.unique(np.concatenate([self.sample, *self.texts]))

    @cached_property
    def frequent(self) -> Ids:
        """The symbols of the scored texts, the most frequent first."""
        symbols, counts = np.unique(np.concatenate(self.texts), return_counts=True)
        return symbols[np.argsort(-counts, kind="stable")]
