"""Drafts that branch: their form says nothing of the text, and they change nothing about the tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privinf.drafts.copies import copied
from privinf.drafts.guesses import Guesses
from privinf.drafts.ngrams import NgramDraft
from privinf.drafts.speculation import Branching, NoDraft, PromptLookup, Tree, drafted_by, verify, walk
from privinf.drafts.trees import form, grown
from privinf.errors import InputError
from privinf.options import Sampling
from privinf.sampling import F32, Sampler

VOCAB = 5
TABLE = np.random.default_rng(4).normal(scale=1.5, size=(VOCAB,) * 4).astype(np.float32)


def row_of(ids: Sequence[int]) -> F32:
    """Depends on three tokens, so that rows of different lines differ where their own tokens are the same."""
    row: F32 = TABLE[tuple([0, 0, *ids][-3:])]
    return row


def rows_of(ids: Sequence[int], tree: Tree) -> F32:
    """What a model says behind every row, each behind its own line."""
    lines = [list(ids)]
    for token, above in zip(tree.tokens, tree.after, strict=True):
        lines.append([*lines[above], token])
    return np.stack([row_of(line) for line in lines])


def test_the_form_depends_on_the_number_alone() -> None:
    draft = NgramDraft.learn([[1, 2, 3, 4, 1, 2, 4, 3]], VOCAB)
    for count in (1, 2, 3, 7, 15, 31):
        forms = {draft.grow(ids, count).after for ids in ([0], [1, 2], [1, 2, 3, 1, 2], [4] * 9)}
        assert len(forms) == 1
        assert len(next(iter(forms))) == count


@pytest.mark.fast_cases(8)
@pytest.mark.parametrize("count", range(32))
def test_every_node_is_behind_one_that_is_there(count: int) -> None:
    nodes = form(count)
    assert len(nodes) == len(set(nodes)) == count
    for place, node in enumerate(nodes):
        assert node[:-1] == () or node[:-1] in nodes[:place]
        assert node[-1] == 0 or (*node[:-1], node[-1] - 1) in nodes


def test_guesses_of_one_place_differ_while_there_are_any() -> None:
    def rank(ids: Sequence[int], most: int) -> list[int]:
        return [10 * ids[-1] + place for place in range(1, most + 1)]

    tree = grown(rank, [1], 7)
    assert tree.tokens[:3] == (11, 111, 1111)
    assert sorted(x for x, above in zip(tree.tokens, tree.after, strict=True) if above == 0) == [11, 12, 13]


def test_what_is_not_known_is_filled() -> None:
    tree = grown(lambda ids, most: [], [3, 9], 7)
    assert tree.tokens == (9,) * 7
    assert tree.after == grown(lambda ids, most: list(range(most)), [3, 9], 7).after


@pytest.mark.parametrize("after", [(1,), (0, 2), (0, -1), (0, 0, 0)])
def test_a_draft_behind_nothing_is_refused(after: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="follows a row"):
        Tree((1, 2), after)


def test_a_line_that_stays_is_walked() -> None:
    tree = Tree((4, 5, 6, 7), (0, 0, 2, 3))  # 4 | 5 6 7
    answers = {0: 5, 2: 6, 3: 9}
    verdict = walk(tree, answers.__getitem__)
    assert (verdict.rows, verdict.tokens, verdict.accepted) == ((0, 2, 3), (5, 6, 9), 2)
    assert walk(tree, {0: 8}.__getitem__).tokens == (8,)
    assert walk(tree, {0: 4, 1: 1}.__getitem__).rows == (0, 1)
    assert tree.places() == [0, 1, 1, 2, 3]
    twice = Tree((4, 5, 7, 7), (0, 0, 1, 2))  # 4 7 | 5 7
    assert walk(twice, {0: 5, 2: 7, 4: 1}.__getitem__).rows == (0, 2, 4)
    assert "4" not in repr(tree).split("after")[0]


def test_lines_are_filled_as_lines() -> None:
    assert Tree.line([3, 4]).filled(4, 7) == Tree((3, 4, 7, 7), (0, 1, 2, 3))
    assert Tree.line([3, 4]).filled(4, 7).straight
    assert not Tree((3, 4), (0, 0)).straight


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.0, 0.7, 1.0]))
def test_tokens_are_those_without_drafts(count: int, seed: int, temperature: float) -> None:
    """Draw for draw, whatever the tree proposes."""
    rng = np.random.default_rng(seed)
    after = tuple(int(rng.integers(0, j + 1)) for j in range(count))
    settings = Sampling(temperature=temperature, seed=seed)
    plain, sampler, ids = Sampler(settings), Sampler(settings), [1, 3]
    wanted = list(ids)
    while len(ids) < 14:
        tree = Tree(tuple(int(x) for x in rng.integers(0, VOCAB, count)), after)
        ids += verify(sampler, rows_of(ids, tree), tree, ids).tokens
    while len(wanted) < len(ids):
        wanted.append(plain.choose(row_of(wanted), wanted))
    assert ids == wanted


def test_a_tree_foretells_more_than_its_line() -> None:
    rng = np.random.default_rng(0)
    text = [1]
    for _ in range(4000):
        text.append(
            Sampler(Sampling(temperature=1.0, seed=int(rng.integers(1 << 30)))).choose(row_of(text), text)
        )
    draft, right = NgramDraft.learn([text[:3000]], VOCAB, copies=False), Counter[str]()
    for start in range(3000, 3900, 9):
        for name, straight in (("line", True), ("tree", False)):
            rest = iter(text[start:])
            tree = drafted_by(draft, text[:start], 7, straight=straight)
            right[name] += walk(tree, lambda _, rest=rest: next(rest)).accepted  # type: ignore[misc]
    assert right["tree"] > right["line"] > 0


def test_only_drafts_that_branch_are_asked_to() -> None:
    assert isinstance(NgramDraft.learn([[1]], VOCAB), Branching)
    for draft in (NoDraft(), PromptLookup()):
        assert not isinstance(draft, Branching)
        assert drafted_by(draft, [1, 2, 1], 2).straight
    assert drafted_by(NgramDraft.learn([[1, 2]], VOCAB), [1, 2, 1], 0) == Tree()


@pytest.mark.parametrize("given", [2, 4])
def test_a_branching_draft_gives_what_it_is_asked_for(given: int) -> None:
    class Other(NoDraft):
        def grow(self, ids: Sequence[int], count: int) -> Tree:
            return Tree.line([0] * given)

    with pytest.raises(InputError, match="as many as it is asked for: 3"):
        drafted_by(Other(), [1], 3)


def test_sources_share_what_is_left() -> None:
    guesses = Guesses()
    guesses.add(0.8, {7: 3, 8: 1}, 4)
    guesses.add(0.5, {9: 1}, 1)
    assert guesses.shares == pytest.approx({7: 0.6, 8: 0.2, 9: 0.1})
    assert guesses.left == pytest.approx(0.1)
    assert (guesses.best(2), guesses.best(9)) == ([7, 8], [7, 8, 9])
    assert "7" not in repr(guesses)


def test_the_longest_and_latest_copy_is_the_best_guess() -> None:
    def best(*ids: int) -> list[int]:
        guesses = Guesses()
        copied(ids, guesses)
        return guesses.best(3)

    assert best(1, 2, 3, 9, 2, 4, 1, 2)[0] == 3  # two tokens before one
    assert best(2, 3, 5, 2, 4, 5, 2) == [4, 3]  # the same run, later
    assert best(1, 2, 3) == []
    assert best(1) == []
    assert best() == []
