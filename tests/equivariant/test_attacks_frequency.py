"""Deciphering by counts: planted languages are read, and where nothing is to be learnt nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.equivariant.attacks import bigrams
from privinf.equivariant.attacks.bigrams import Corpus, deciphered, hand_out
from privinf.equivariant.attacks.frequency import by_rank
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Guess

WORDS = 60
RNG = np.random.default_rng(1)
# Each token has followers of its own; tokens are about as frequent as one another, so that ranks say little.
FOLLOWS = RNG.dirichlet(np.full(WORDS, 0.1), WORDS) + 1e-3
FOLLOWS = np.cumsum(FOLLOWS / FOLLOWS.sum(1, keepdims=True), axis=1)
CODE = RNG.permutation(WORDS)


def written(tokens: int, seed: int) -> list[Ids]:
    rng = np.random.default_rng(seed)
    token, text = 0, []
    for draw in rng.random(tokens):
        token = min(int(np.searchsorted(FOLLOWS[token], draw)), WORDS - 1)
        text.append(token)
    return [np.array(text[: tokens // 2]), np.array(text[tokens // 2 :])]


def right(guess: Guess, seen: Corpus, top: int = 1) -> float:
    hits = (guess.plain[:, :top] == np.argsort(CODE)[guess.symbols][:, None]).any(1)
    return float(seen.counts[guess.symbols][hits].sum() / seen.counts.sum())


def sent(texts: list[Ids]) -> Corpus:
    return Corpus.of([CODE[text] for text in texts], WORDS)


def test_neighbours_tell_what_ranks_do_not() -> None:
    seen, known = sent(written(40_000, 2)), Corpus.of(written(40_000, 3), WORDS)
    assert right(deciphered(seen, known)[0], seen) > 0.95
    assert right(by_rank(seen, known), seen) < 0.8


def test_a_reference_of_another_language_says_nothing() -> None:
    seen = sent(written(40_000, 2))
    flat = Corpus.of([np.random.default_rng(5).integers(0, WORDS, 40_000)], WORDS)
    assert right(deciphered(seen, flat)[0], seen) < 0.3


def test_rarer_symbols_are_read_by_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, known = sent(written(40_000, 2)), Corpus.of(written(40_000, 3), WORDS)
    monkeypatch.setattr(bigrams, "KNOWN", 40)
    monkeypatch.setattr(bigrams, "BLOCK", 10)
    monkeypatch.setattr(bigrams, "SLACK", 1.5)
    found, covered = {}, {}
    for blocks in (0, 2):
        monkeypatch.setattr(bigrams, "BLOCKS", blocks)
        guess, covered[blocks] = bigrams.deciphered(seen, known)
        found[blocks] = right(guess, seen)
        assert len(set(guess.plain[:, 0].tolist())) == WORDS  # each token once
    assert found[0] + 0.05 < found[2]
    assert found[0] <= covered[0] + 0.02
    assert covered[0] < covered[2] == 1


def test_ranks_read_what_is_far_apart_in_frequency() -> None:
    text = np.repeat(np.arange(WORDS), np.arange(WORDS, 0, -1))
    seen, known = sent([text]), Corpus.of([text], WORDS)
    guess = by_rank(seen, known)
    assert right(guess, seen) == 1
    assert len(guess.symbols) == WORDS


def test_pairs_do_not_span_texts() -> None:
    pairs = Corpus.of([np.array([0, 1]), np.array([0, 1])], 2).pairs(np.arange(2), np.arange(2))
    assert pairs.tolist() == [[0, 2, 0, 0], [0, 0, 2, 0]]


def test_no_token_is_given_twice() -> None:
    distance = np.array([[0.0, 5, 9], [1, 2, 9], [2, 3, np.inf]], dtype=np.float32)
    given = hand_out(distance)
    assert given.tolist() == [0, 1, -1]
    assert np.isfinite(distance).sum() == 8  # what was asked about is left as it was


def test_what_is_rare_takes_a_token_that_is_left() -> None:
    seen, known = sent([np.array([3, 3, 4])]), Corpus.of([np.array([3, 3, 4])], WORDS)
    guess = deciphered(seen, known)[0]
    assert len(guess.symbols) == 2
    assert len(set(guess.plain[:, 0].tolist())) == 2
