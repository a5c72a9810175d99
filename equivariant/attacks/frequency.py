"""A6: symbols alone. How often each occurs, and what stands beside it, against public text of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privinf.equivariant.attacks.bigrams import Corpus, decipher
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View

RANKED = 100
LEAST = 1000  # tokens


def frequency(view: View, leak: Leak) -> Findings:
    """By rank of frequency, then by neighbours too; the whole stream counts."""
    texts = _stream(view)
    tokens = sum(map(len, texts))
    if tokens < LEAST:
        return Findings(skipped=f"{tokens} tokens are too few to count; at least {LEAST} are needed")
    seen = Corpus.of(texts, _symbols(view))
    guesses = {}
    for name, reference in view.reference.items():
        known = Corpus.of(reference, view.facts.vocab)
        guesses[f"rank, {name}"] = by_rank(seen, known)
        guesses[f"neighbours, {name}"] = decipher(seen, known)
    counted = {name: sum(map(len, reference)) for name, reference in view.reference.items()}
    return Findings(guesses, facts={"tokens": tokens, "reference_tokens": counted})


def by_rank(seen: Corpus, known: Corpus) -> Guess:
    """The n-th most frequent symbol is the n-th most frequent token, or one of those beside it."""
    symbols = seen.order[seen.counts[seen.order] > 0]
    tokens = known.order
    offsets = _outwards(min(RANKED, len(tokens)))
    ranks = np.arange(len(symbols))[:, None] + offsets
    inside = (ranks >= 0) & (ranks < len(tokens))
    plain = np.where(inside, tokens[np.clip(ranks, 0, len(tokens) - 1)], -1)
    return Guess(symbols, plain, stream=True)


def _outwards(count: int) -> Ids:
    """0, 1, -1, 2, -2, ..."""
    steps = np.arange(1, count // 2 + 1)
    return np.concatenate([[0], np.stack([steps, -steps], 1).ravel()])[:count]


def _stream(view: View) -> Sequence[Ids]:
    """All texts; one session's worth where each session has covers of its own."""
    if not view.local:
        return view.traffic.texts
    kept, left = [], view.about.context
    for text in view.traffic.texts:
        kept.append(text[:left])
        left -= len(kept[-1])
        if left <= 0:
            break
    return kept


def _symbols(view: View) -> int:
    return view.facts.vocab if view.traffic.table is None else len(view.traffic.table)
