"""Drafts of counted runs: what they learn, what they propose, and files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privinf.drafts.ngrams import NgramDraft
from privinf.errors import InputError

VOCAB = 50
TEXT = [[1, 2, 3, 4, 5], [9, 2, 3, 4, 6], [1, 2, 3, 4, 5], [7, 8], [7, 8], [7, 9, 1]]


@pytest.fixture
def draft() -> NgramDraft:
    return NgramDraft.learn(TEXT, VOCAB, copies=False)


def test_the_longest_known_run_counts(draft: NgramDraft) -> None:
    assert draft.propose([1, 2], 3) == [3, 4, 5]
    assert draft.propose([2, 3, 4], 1) == [5]  # two to one
    assert draft.propose([7], 1) == [8]


def test_a_guess_follows_a_guess(draft: NgramDraft) -> None:
    assert draft.propose([1], 4) == [2, 3, 4, 5]


def test_runs_do_not_span_texts(draft: NgramDraft) -> None:
    assert draft.propose([5], 1) == []
    assert draft.propose([6], 1) == []


def test_what_is_unknown_is_not_guessed(draft: NgramDraft) -> None:
    assert draft.propose([40], 5) == []
    assert draft.propose([], 5) == []
    assert draft.propose([1], 0) == []


def test_longer_runs_must_have_been_seen_twice() -> None:
    once = NgramDraft.learn([[1, 2, 3]], VOCAB, copies=False)
    assert once.propose([1, 2], 1) == [3]  # known from the run of one alone
    twice = NgramDraft.learn([[1, 2, 3], [4, 2, 5], [4, 2, 5], [6, 2, 5]], VOCAB, copies=False)
    assert twice.propose([1, 2], 1) == [5]


def test_text_that_repeats_itself_is_copied_first() -> None:
    draft = NgramDraft.learn(TEXT, VOCAB)
    assert draft.propose([30, 31, 32, 33, 30, 31], 2) == [32, 33]
    assert draft.propose([41, 2, 3, 4], 2) == [5]


def test_ties_go_to_the_smaller_token_whatever_the_order() -> None:
    for texts in ([[1, 3], [1, 2]], [[1, 2], [1, 3]]):
        assert NgramDraft.learn(texts, VOCAB, copies=False).propose([1], 1) == [2]


def test_a_file_gives_the_same_draft(draft: NgramDraft, tmp_path: Path) -> None:
    path = tmp_path / "draft.npz"
    draft.save(path)
    stored = NgramDraft.load(path, VOCAB)
    rng = np.random.default_rng(3)
    for _ in range(100):
        ids = rng.integers(0, 10, size=4).tolist()
        assert stored.rank(ids, 6) == NgramDraft.learn(TEXT, VOCAB).rank(ids, 6)


def test_a_file_of_another_model_is_refused(draft: NgramDraft, tmp_path: Path) -> None:
    draft.save(tmp_path / "draft.npz")
    with pytest.raises(InputError, match="50 tokens"):
        NgramDraft.load(tmp_path / "draft.npz", VOCAB + 1)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("totals2", lambda x: x * 0),
        ("keys1", lambda x: x[::-1]),
        ("keys1", lambda x: x[0]),
        ("counts3", lambda x: x[:, :2]),
        ("counts1", lambda x: x[:, ::-1]),
        ("following2", lambda x: x[1:]),
    ],
)
def test_a_damaged_file_is_refused(
    draft: NgramDraft, name: str, change: Callable[[Any], Any], tmp_path: Path
) -> None:
    path = tmp_path / "draft.npz"
    draft.save(path)
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {name: change(arrays[name])}))
    with pytest.raises(InputError, match="damaged"):
        NgramDraft.load(path, VOCAB)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a draft at all"])
def test_what_is_no_draft_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "draft.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a draft"):
        NgramDraft.load(path, VOCAB)


def test_nothing_can_be_learnt_from_nothing() -> None:
    with pytest.raises(InputError, match="no text"):
        NgramDraft.learn([], VOCAB)
    assert NgramDraft.learn([[1]], VOCAB, copies=False).propose([1], 2) == []
