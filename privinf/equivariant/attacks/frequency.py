"""A6: symbols alone. How often each occurs, and what stands beside it, against public text of the same kind.

Where rows come instead of symbols, and every session has covers of its own, they are linked first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from privinf.equivariant.attacks.bigrams import Corpus, deciphered
from privinf.equivariant.attacks.linking import linked
from privinf.equivariant.attacks.matching import TOP, Ids
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View

RANKED = 100
LEAST = 1000  # tokens
POSITIONS = (
    "rows hold positions, and each comes once in a session: what is one token's at two of them, only the layers' "
    "weights tell, as body reads them"
)


def frequency(view: View, leak: Leak) -> Findings:
    """By rank of frequency, then by neighbours too; the whole stream counts."""
    texts, stream = view.traffic.passing, view.traffic.stream
    if not texts:
        return Findings(skipped=POSITIONS)
    tokens = sum(map(len, texts))
    if tokens < LEAST:
        return Findings(skipped=f"{tokens} tokens are too few to count; at least {LEAST} are needed")
    if stream is None:
        guesses, facts = _guesses(view, Corpus.of(texts, view.spec.vocab))
        return Findings(guesses, facts={"tokens": tokens, **facts})
    numbers = linked(stream)
    count = int(numbers.max()) + 1
    guesses, facts = _guesses(view, Corpus.of([numbers[text - stream.first] for text in texts], count))
    unlinked = {name: _unlinked(guess, numbers, stream.first) for name, guess in guesses.items()}
    joined = {"sessions": stream.sessions, "rows": len(numbers), "linked_into": count}
    return Findings(unlinked, facts={"tokens": tokens, **joined, **facts})


def _guesses(view: View, seen: Corpus) -> tuple[dict[str, Guess], dict[str, Any]]:
    """By each public text."""
    guesses, looked = dict[str, Guess](), 0.0
    for name, reference in view.reference.items():
        known = Corpus.of(reference, view.spec.vocab)
        guesses[f"rank, {name}"] = by_rank(seen, known)
        guesses[f"neighbours, {name}"], looked = deciphered(seen, known)
    counted = {name: sum(map(len, reference)) for name, reference in view.reference.items()}
    return guesses, {"of_the_stream_neighbours_cover": looked, "reference_tokens": counted}


def _unlinked(guess: Guess, numbers: Ids, first: int) -> Guess:
    """For every symbol what was guessed for all that it is linked with."""
    places = np.argsort(guess.symbols)  # every number occurs, and once among the guesses
    symbols = first + np.arange(len(numbers))
    return Guess(symbols, guess.plain[:, :TOP][places[numbers]], stream=True)


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
