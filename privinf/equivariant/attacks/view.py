"""What an attacker holds: the public model, the server's directory and what passed through it. No key is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from privinf.equivariant.about import ServerAbout
from privinf.equivariant.attacks.matching import TOP, Array, Ids, nearest
from privinf.equivariant.attacks.traffic import Traffic
from privinf.equivariant.attacks.weights import F32, Weights, decodes, kind_of
from privinf.models.spec import ModelSpec

Made = Callable[[F32], Array]
Ranked = tuple[Ids, Array]  # of each row: places of what is closest, and how far it is


@dataclass(frozen=True, eq=False)
class Leak:
    """Symbols whose plain ids an attacker was told, in the order in which they would become known."""

    symbols: Ids = field(repr=False)
    plain: Ids = field(repr=False)

    def of(self, symbols: Ids) -> Leak:
        """Of these symbols alone, in this order."""
        order = np.argsort(self.symbols)
        places = order[np.searchsorted(self.symbols, symbols, sorter=order)]
        return Leak(symbols, self.plain[places])


@dataclass(frozen=True, eq=False)
class Guess:
    """Plain ids for symbols, best first; -1 where there is none.

    Attributes:
        told: symbols that the attacker knew beforehand, left out of the scores.
        texts: scored on the occurrences of these texts, where they are not the traffic's.
        stream: scored on the occurrences of the whole stream.
        sampled: the symbols are but a sample of the vocabulary, searched in the pool.
    """

    symbols: Ids = field(repr=False)
    plain: Ids = field(repr=False)
    told: Ids | None = field(default=None, repr=False)
    texts: Sequence[Ids] | None = field(default=None, repr=False)
    stream: bool = False
    sampled: bool = False


def joined(guesses: Sequence[Guess]) -> Guess:
    """One guess of those for several sessions."""
    return Guess(
        np.concatenate([guess.symbols for guess in guesses]),
        np.concatenate([guess.plain for guess in guesses]),
        told=np.concatenate([guess.told for guess in guesses if guess.told is not None]),
        texts=[text for guess in guesses for text in guess.texts or ()],
    )


@dataclass(frozen=True, eq=False)
class Findings:
    """What an attack brought: guesses and decoded prompts by name, which the truth scores, and facts for the report."""

    guesses: Mapping[str, Guess] = field(default_factory=dict)
    prompts: Mapping[str, list[Ids]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: str | None = None


@dataclass(frozen=True, eq=False)
class View:
    """Everything that attacks get, beside a leak where one says so.

    Attributes:
        plain: of the public directory.
        server: of the server's directory, or of one variant of it.
        reference: public texts in plain ids, by what they are.
    """

    about: ServerAbout
    plain: Weights
    server: Weights
    traffic: Traffic
    reference: Mapping[str, list[Ids]]

    @property
    def spec(self) -> ModelSpec:
        return self.plain.spec

    @property
    def decoder(self) -> bool:
        return decodes(self.spec)

    @property
    def local(self) -> bool:
        """Rows come instead of ids."""
        return self.traffic.table is not None

    @cached_property
    def table(self) -> F32:
        """The covered row of each symbol, (symbols, server width)."""
        if self.traffic.table is not None:
            return self.server.centred(self.traffic.table)
        return self.server.embedding()

    def candidates(self, position: int = 0) -> F32:
        """The plain row of each token, (vocab, width): at this position where rows hold positions."""
        if not self.local or kind_of(self.spec) == "rms":
            return self.unshifted
        shift = self.shift(position)
        if shift is not None:
            return self.unshifted + shift
        return self._normed(self.plain["embed.token"] + self.plain["embed.position"][position])

    def sessions(self) -> Iterator[View]:
        """What is under one cover each; the sample goes with the first."""
        traffic = self.traffic
        if not traffic.sessions:
            yield self
        for place, texts in enumerate(traffic.sessions):
            sample = traffic.sample if place == 0 else traffic.sample[:0]
            yield replace(self, traffic=replace(traffic, texts=texts, sample=sample))

    def shift(self, position: int) -> F32 | None:
        """What a position adds to every candidate, or None where it does more than that."""
        if not self.decoder:
            return None
        if not self.local or kind_of(self.spec) == "rms":
            return np.zeros(self.spec.width, dtype=np.float32)
        return np.asarray(self.plain.centred(self.plain["embed.position"][position][None])[0])

    def groups(self, symbols: Ids) -> Iterator[tuple[Ids, int]]:
        """Places in `symbols` that have the same candidates, and their position."""
        if self.traffic.positions is None:
            yield np.arange(len(symbols)), 0
            return
        positions = self.traffic.positions[symbols]
        for position in np.unique(positions):
            yield np.flatnonzero(positions == position), int(position)

    def closest(
        self, symbols: Ids, rows: Array, made: Made, find: Callable[[Array, Array], Ranked] = nearest
    ) -> tuple[Guess, Array]:
        """The tokens whose plain rows are closest to the symbols' rows after something is `made` of them; distances."""
        shape = len(symbols), min(TOP, self.spec.vocab)
        found, apart = np.empty(shape, dtype=np.int64), np.empty(shape)
        for places, position in self.groups(symbols):
            found[places], apart[places] = find(rows[places], made(self.candidates(position)))
        return Guess(symbols, found), apart

    def read(self, symbols: Ids, rows: Array, seen: Array | None = None, noise: float = 0.0) -> Guess:
        """Guess tokens by the plain rows closest to uncovered ones, (symbols, width).

        Args:
            symbols: whose rows they are.
            rows: uncovered ones.
            seen: what projects the plain rows, where uncovering left something out.
            noise: variance of each value of a row; above zero, the frequency of tokens counts as well.
        """
        rare = np.sqrt(2 * noise * self.rarity)[:, None]

        def read(plain: F32) -> F32:
            return np.hstack((plain if seen is None else plain @ seen, rare)).astype(np.float32)

        return self.closest(symbols, np.pad(rows, ((0, 0), (0, 1))).astype(np.float32), read)[0]

    @cached_property
    def rarity(self) -> Array:
        """By how much each token's log probability in public text is below the most frequent one's."""
        texts = next(iter(self.reference.values()))
        logs = np.log(0.5 + np.bincount(np.concatenate(texts), minlength=self.spec.vocab))
        return np.asarray(logs.max() - logs)

    def plain_rows(self, known: Leak) -> F32:
        """The plain rows of known tokens where their symbols stand for them."""
        found = np.empty((len(known.plain), self.spec.width), dtype=np.float32)
        for places, position in self.groups(known.symbols):
            found[places] = self.candidates(position)[known.plain[places]]
        return found

    @cached_property
    def unshifted(self) -> F32:
        """The plain row of each token without a position."""
        return self.plain.embedding()

    def _normed(self, rows: F32) -> F32:
        rows = rows + self.plain["embed.type"][0]
        rows = rows - rows.mean(-1, keepdims=True)
        rows = rows / np.sqrt(np.square(rows).mean(-1, keepdims=True) + self.spec.eps)
        return np.asarray(rows * self.plain["embed.norm.gain"] + self.plain["embed.norm.bias"])
