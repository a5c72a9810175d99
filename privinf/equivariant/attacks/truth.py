"""What only the evaluation knows, the client's key and texts: it makes the server's traffic, and scores guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from privinf.equivariant.asking.own_part import OwnPart
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.sending import Sender, Symbols
from privinf.equivariant.attacks.texts import first
from privinf.equivariant.attacks.traffic import Traffic
from privinf.equivariant.attacks.view import Guess, Leak
from privinf.equivariant.attacks.weights import decodes
from privinf.equivariant.key import Key
from privinf.models.source.checkpoint import tensors
from privinf.models.spec import ModelSpec

SAMPLED, POOL = 256, 4096  # published evaluations of matching: so many targets in a pool of so many
POSITIONS = 16  # of a text's tokens where rows hold positions: each has candidates of its own
LENGTHS = (8, 16)  # of prompts
NEVER = 1 << 30  # the rank of an answer that is not among those given


@dataclass(frozen=True)
class Sizes:
    """How much is scored.

    Attributes:
        window: tokens, by attacks that do not take the whole stream.
        sample: vocabulary entries.
    """

    window: int = 20_000
    sample: int = 1024
    prompts: int = 48


class Truth:
    """The key of one client and what its symbols stand for."""

    def __init__(self, client: Path, known: ModelSpec, texts: Sequence[Ids], sizes: Sizes, seed: int) -> None:
        self._seed, rng = seed, np.random.default_rng(seed)
        shuffled = rng.permutation(known.vocab)
        self._drawn, self._pool = shuffled[: sizes.sample], np.sort(shuffled[:POOL])
        lengths = rng.integers(*LENGTHS, endpoint=True, size=sizes.prompts)
        long = [text for text in texts if len(text) >= LENGTHS[1]]
        self._prompts = [text[:n] for text, n in zip(long, lengths, strict=False)]
        self._front = _in_common(self._prompts)
        key = Key.load(client)
        self.model = key.about.model
        if key.tokens is None:
            self._by_rows(client, key, known, texts, sizes.window)
        else:
            self._by_ids(key.tokens, texts, sizes.window)

    def _by_ids(self, tokens: Ids, texts: Sequence[Ids], window: int) -> None:
        self.plain = np.argsort(tokens)
        self.traffic = Traffic(
            texts=[tokens[text] for text in first(texts, window)],
            passing=[tokens[text] for text in texts],
            sample=tokens[self._drawn],
            pool=self._pool,
            prompts=[tokens[text] for text in self._prompts],
            seed=self._seed,
        )

    def _by_rows(self, client: Path, key: Key, known: ModelSpec, texts: Sequence[Ids], window: int) -> None:
        """Each distinct token, or token at a position, is a symbol."""
        assert key.hidden is not None
        folder, positional = client.parent.parent, "embed.position" in tensors(known)
        own = OwnPart(folder, Key.load(folder).about, known.eps)
        sender = Sender(own, key.hidden, key.about.context, positional, decodes(known))
        symbols = Symbols(positional)
        cut = [text[:POSITIONS] for text in texts] if positional else texts
        written = [symbols.of(text) for text in first(cut, window)]
        sample = symbols.alone(self._drawn)
        prompts = [symbols.of(text) for text in self._prompts]
        sessions = [[symbols.of(t, at) for t in session] for at, session in enumerate(sender.few(texts))]
        plain, positions = symbols.known()
        stream, streamed = sender.stream(texts, len(plain), self._seed)
        self.plain = np.concatenate([plain, streamed])
        self.traffic = Traffic(
            texts=written,
            passing=stream.texts if stream else [],
            sample=sample,
            pool=self._pool,
            prompts=prompts,
            table=sender.rows(plain, positions),
            positions=positions if positional else None,
            sessions=sessions,
            stream=stream,
            seed=self._seed,
        )

    def leak(self) -> Leak:
        """Every symbol of the texts that attacks get told of, with its plain id."""
        texts = chain(self.traffic.texts, *self.traffic.sessions)
        symbols = np.unique(np.concatenate(list(texts)))
        return Leak(symbols, self.plain[symbols])

    def score(self, guess: Guess) -> dict[str, Any]:
        """Shares of token occurrences and of vocabulary entries that are right, of the first guess and of ten."""
        texts = self.traffic.passing if guess.stream else guess.texts or self.traffic.texts
        symbols, counts = np.unique(np.concatenate(texts), return_counts=True)
        found: dict[str, Any] = {}
        if guess.told is not None:
            found["occurrences_told"] = float(counts[np.isin(symbols, guess.told)].sum() / counts.sum())
        if not guess.sampled:
            found |= self._shares(guess, symbols, counts, "occurrences")
        if guess.stream and self.traffic.stream:  # its symbols are not those of the sample
            return found
        sample = self.traffic.sample[:SAMPLED] if guess.sampled else self.traffic.sample
        return found | self._shares(guess, sample, np.ones(len(sample)), "vocabulary")

    def _shares(self, guess: Guess, symbols: Ids, weights: Any, name: str) -> dict[str, Any]:
        if guess.told is not None:
            new = ~np.isin(symbols, guess.told)
            symbols, weights = symbols[new], weights[new]
        hits = guess.plain == self.plain[guess.symbols][:, None]
        found_at = np.where(hits.any(1), hits.argmax(1), NEVER).tolist()
        rank_of = dict(zip(guess.symbols.tolist(), found_at, strict=True))
        ranks = np.array([rank_of.get(symbol, NEVER) for symbol in symbols.tolist()])
        total = float(weights.sum())
        shares = {top: float(weights[ranks < top].sum()) / total if total else None for top in (1, 10, 100)}
        found: dict[str, Any] = {name: shares[1], f"{name}_top10": shares[10], f"{name}_scored": int(total)}
        return found | ({f"{name}_top100": shares[100]} if guess.plain.shape[1] > 10 else {})

    def score_prompts(self, decoded: Sequence[Ids]) -> dict[str, Any]:
        """Prompts that are right in every token, and tokens that are right; what all begin with counts for nothing."""
        wanted, start = self._prompts[: len(decoded)], self._front
        right = [np.asarray(ids[start:]) == plain[start:] for ids, plain in zip(decoded, wanted, strict=True)]
        return {
            "exact_prompts": float(np.mean([row.all() for row in right])),
            "occurrences": float(np.concatenate(right).mean()),
            "prompts": len(decoded),
            "occurrences_scored": sum(map(len, right)),
        }


def _in_common(texts: Sequence[Ids]) -> int:
    """How many tokens all texts begin with."""
    if len({text.tobytes() for text in texts}) < 2:
        return 0
    least = min(map(len, texts))
    same = np.array([text[:least] == texts[0][:least] for text in texts]).all(0)
    return int(np.cumprod(same).sum())
