"""What only the evaluation knows, the client's key and texts: it makes the server's traffic, and scores guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Guess, Leak, Traffic
from privinf.equivariant.attacks.weights import F32, Facts
from privinf.equivariant.key import Key
from privinf.equivariant.own_part import OwnPart

WINDOW = 20_000  # tokens that are scored, by attacks that do not take the whole stream
SAMPLE = 1024  # vocabulary entries that are scored
SAMPLED, POOL = 256, 4096  # published evaluations of matching: so many targets in a pool of so many
POSITIONS = 16  # of a text's tokens where rows hold positions: each has candidates of its own
PROMPTS, LENGTHS = 48, (8, 16)


@dataclass(frozen=True)
class Sizes:
    """How much is scored."""

    window: int = WINDOW
    sample: int = SAMPLE
    prompts: int = PROMPTS


class Truth:
    """The key of one client and what its symbols stand for."""

    def __init__(self, client: Path, known: Facts, texts: Sequence[Ids], sizes: Sizes, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        shuffled = self._rng.permutation(known.vocab)
        self._drawn, self._pool = shuffled[: sizes.sample], np.sort(shuffled[:POOL])
        lengths = self._rng.integers(*LENGTHS, endpoint=True, size=sizes.prompts)
        long = [text for text in texts if len(text) >= LENGTHS[1]]
        self._prompts = [text[:n] for text, n in zip(long, lengths, strict=False)]
        key = Key.load(client)
        self.model = key.about.model
        if key.tokens is None:
            self._by_rows(client, key, known, texts, sizes)
        else:
            self._by_ids(key, texts, sizes)

    def _by_ids(self, key: Key, texts: Sequence[Ids], sizes: Sizes) -> None:
        assert key.tokens is not None
        tokens = key.tokens
        self.plain = np.argsort(tokens)
        self.traffic = Traffic(
            texts=[tokens[text] for text in texts],
            window=_texts_of(texts, sizes.window),
            sample=tokens[self._drawn],
            pool=self._pool,
            prompts=[tokens[text] for text in self._prompts],
        )

    def _by_rows(self, client: Path, key: Key, known: Facts, texts: Sequence[Ids], sizes: Sizes) -> None:
        """Each distinct token, or token at a position, is a symbol."""
        positional = "embed.position" in known.arrays
        texts = [text[:POSITIONS] for text in texts] if positional else list(texts)
        texts = texts[: _texts_of(texts, sizes.window)]
        symbols = _Symbols(positional)
        written = [symbols.of(text) for text in texts]
        sample = symbols.alone(self._drawn)
        prompts = [symbols.of(text) for text in self._prompts]
        self.plain, positions = symbols.known()
        own = OwnPart(client.parent.parent, key.about, known.eps)
        self.traffic = Traffic(
            texts=written,
            window=len(written),
            sample=sample,
            pool=self._pool,
            prompts=prompts,
            table=_rows(own, key, self.plain, positions),
            positions=positions if positional else None,
        )

    def leak(self) -> Leak:
        """Every symbol of the scored texts with its plain id, the most frequent first."""
        order = self.traffic.frequent
        return Leak(order, self.plain[order])

    def score(self, guess: Guess) -> dict[str, Any]:
        """Shares of token occurrences and of vocabulary entries that are right, of the first guess and of ten."""
        texts = self.traffic.texts if guess.stream else self._window()
        symbols, counts = np.unique(np.concatenate(texts), return_counts=True)
        found: dict[str, Any] = {}
        if guess.told is not None:
            found["occurrences_told"] = float(counts[np.isin(symbols, guess.told)].sum() / counts.sum())
        if not guess.sampled:
            found |= self._shares(guess, symbols, counts, "occurrences")
        sample = self.traffic.sample[:SAMPLED] if guess.sampled else self.traffic.sample
        return found | self._shares(guess, sample, np.ones(len(sample)), "vocabulary")

    def _shares(self, guess: Guess, symbols: Ids, weights: Any, name: str) -> dict[str, Any]:
        if guess.told is not None:
            new = ~np.isin(symbols, guess.told)
            symbols, weights = symbols[new], weights[new]
        where = {int(symbol): place for place, symbol in enumerate(guess.symbols)}
        ranks = np.array([self._rank(guess, where.get(int(symbol))) for symbol in symbols])
        total = float(weights.sum())
        right = {top: float(weights[ranks < top].sum()) for top in (1, 10, 100)}
        shares = {top: right[top] / total if total else None for top in right}
        found: dict[str, Any] = {name: shares[1], f"{name}_top10": shares[10], f"{name}_scored": int(total)}
        return found | ({f"{name}_top100": shares[100]} if guess.plain.shape[1] > 10 else {})

    def _rank(self, guess: Guess, place: int | None) -> int:
        """Of the right answer among those given."""
        if place is None:
            return 1 << 30
        hits = np.flatnonzero(guess.plain[place] == self.plain[guess.symbols[place]])
        return int(hits[0]) if len(hits) else 1 << 30

    def score_prompts(self, decoded: Sequence[Ids]) -> dict[str, Any]:
        """Prompts that are right in every token, and tokens that are right, of those attempted."""
        wanted = self._prompts[: len(decoded)]
        right = [np.asarray(ids) == plain for ids, plain in zip(decoded, wanted, strict=True)]
        return {
            "exact_prompts": float(np.mean([row.all() for row in right])),
            "occurrences": float(np.concatenate(right).mean()),
            "prompts": len(decoded),
            "occurrences_scored": sum(map(len, right)),
        }

    def _window(self) -> list[Ids]:
        return self.traffic.texts[: self.traffic.window]


class _Symbols:
    """Numbers pairs of a token and its position as they come."""

    def __init__(self, positional: bool) -> None:
        self._positional = positional
        self._seen: dict[tuple[int, int], int] = {}

    def of(self, text: Ids) -> Ids:
        places = range(len(text)) if self._positional else [0] * len(text)
        return np.array([self._number(int(token), at) for token, at in zip(text, places, strict=True)])

    def alone(self, tokens: Ids) -> Ids:
        """Of tokens that each begin a text."""
        return np.array([self._number(int(token), 0) for token in tokens])

    def known(self) -> tuple[Ids, Ids]:
        tokens, positions = np.array(list(self._seen), dtype=np.int64).T
        return tokens, positions

    def _number(self, token: int, position: int) -> int:
        return self._seen.setdefault((token, position), len(self._seen))


def _rows(own: OwnPart, key: Key, plain: Ids, positions: Ids) -> F32:
    """What the client sends for each symbol."""
    assert key.hidden is not None
    table = np.empty((len(plain), key.hidden.shape[1]), dtype=np.float32)
    for position in np.unique(positions):
        at = np.flatnonzero(positions == position)
        rows = [own.token_rows([token], int(position))[0] for token in plain[at]]
        table[at] = np.stack(rows) @ key.hidden
    return table


def _texts_of(texts: Sequence[Ids], tokens: int) -> int:
    """How many texts hold so many tokens."""
    ends = np.cumsum([len(text) for text in texts])
    return min(int(np.searchsorted(ends, tokens)) + 1, len(texts))
