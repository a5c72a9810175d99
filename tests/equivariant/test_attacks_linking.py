"""Linking of rows without weights: planted covers fall, and what no length and no mean gives away stays apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from privinf.equivariant.attacks.linking import linked
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.traffic import Stream

TOKENS, WIDTH, LENGTH = 120, 24, 12
FIRST = 5  # symbols need not begin at 0
Group = tuple[Ids, np.ndarray]  # different tokens of a piece and their covered rows


def drawn() -> np.random.Generator:
    return np.random.default_rng(3)


def turned(rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]


def stream(groups: Sequence[Group], texts: list[Ids], sessions: int) -> Stream:
    def pieces() -> Iterator[np.ndarray]:
        for _, rows in groups:
            yield rows.astype(np.float32)

    return Stream(FIRST, texts, pieces, sessions)


def agreement(groups: Sequence[Group], given: Stream) -> tuple[float, float]:
    """Of pairs of one token's symbols those that are linked, and of linked pairs those of one token."""
    tokens = np.concatenate([tokens for tokens, _ in groups])
    numbers = linked(given)
    other = ~np.eye(len(tokens), dtype=bool)
    same, together = (tokens[:, None] == tokens) & other, (numbers[:, None] == numbers) & other
    return float((same & together).sum() / same.sum()), float(
        (same & together).sum() / max(1, together.sum())
    )


def under_covers(stretch: float) -> tuple[list[Group], Stream]:
    """Forty sessions; rows may be stretched at random."""
    rng = drawn()
    plain = rng.standard_normal((TOKENS, WIDTH))
    groups = []
    for _ in range(40):
        tokens = np.unique(rng.integers(0, TOKENS, LENGTH))
        lengths = 1 + stretch * rng.standard_normal((len(tokens), 1))
        groups.append((tokens, (lengths * plain[tokens]) @ turned(rng)))
    return groups, stream(groups, [], sessions=40)


def at_positions(shared: bool) -> tuple[list[Group], Stream]:
    """One call of 600 texts, every position with a row of its own that is added; or with a cover of its own."""
    rng = drawn()
    plain, positions = rng.standard_normal((TOKENS, WIDTH)), 3 * rng.standard_normal((LENGTH, WIDTH))
    written = rng.integers(0, TOKENS, (600, LENGTH))
    cover = turned(rng)
    groups, symbols, start = list[Group](), np.empty_like(written), FIRST
    for position in range(LENGTH):
        tokens, places = np.unique(written[:, position], return_inverse=True)
        here = cover if shared else turned(rng)
        groups.append((tokens, (plain[tokens] + positions[position]) @ here))
        symbols[:, position] = start + places
        start += len(tokens)
    return groups, stream(groups, list(symbols), sessions=1)


def test_sessions_are_linked_by_length() -> None:
    assert agreement(*under_covers(0.0)) == (1, 1)


def test_rows_of_other_lengths_are_linked_with_nothing() -> None:
    """The control: a cover that changes lengths leaves nothing to go by."""
    found, _ = agreement(*under_covers(0.1))
    assert found < 0.05


def test_positions_of_one_call_are_linked_by_their_means() -> None:
    found, right = agreement(*at_positions(shared=True))
    assert found > 0.99
    assert right > 0.99


def test_positions_under_covers_of_their_own_are_not() -> None:
    found, _ = agreement(*at_positions(shared=False))
    assert found < 0.05


def test_positions_that_few_texts_reach_are_left_alone() -> None:
    groups = [(np.arange(4), np.eye(4, WIDTH)), (np.arange(4), np.eye(4, WIDTH))]
    given = stream(groups, [np.array([FIRST + i, FIRST + 4 + i]) for i in range(4)], sessions=1)
    assert agreement(groups, given)[0] == 0
