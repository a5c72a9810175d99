"""Matching of rows: exact where rows are all but equal, blind to what sorting and signatures are to be blind to."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.equivariant.attacks.matching import mutual, nearest, sketch, vote
from privinf.equivariant.attacks.signatures import comparable, leverage, signatures, whitened

RNG = np.random.default_rng(0)
ROWS, WIDTH = 500, 24
PLAIN = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
ORDER = RNG.permutation(ROWS)


def orthogonal(size: int) -> np.ndarray:
    return np.linalg.qr(RNG.standard_normal((size, size)))[0]


def share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How many rows find the one that they were."""
    return float((nearest(*comparable(ours, theirs), 1)[0][:, 0] == ORDER).mean())


def test_rows_find_themselves_among_all_but_equal_ones() -> None:
    far = 100 + RNG.standard_normal((400, 1)) * 1e-4 * np.ones((1, WIDTH))
    pool = (far + 1e-4 * RNG.standard_normal(far.shape)).astype(np.float32)
    found, distance = nearest(pool, pool, 3)
    assert (found[:, 0] == np.arange(len(pool))).all()
    assert (np.diff(distance, axis=1) >= 0).all()


def test_the_closest_come_first() -> None:
    pool = np.array([[0.0, 0], [1, 0], [3, 0]])
    found, distance = nearest(np.array([[0.9, 0]]), pool)
    assert found.tolist() == [[1, 0, 2]]
    assert distance[0] == pytest.approx([0.01, 0.81, 4.41])


def test_sorting_undoes_an_order_of_columns() -> None:
    moved = PLAIN[:, RNG.permutation(WIDTH)]
    assert np.array_equal(sketch(moved, WIDTH), sketch(PLAIN, WIDTH))
    assert sketch(PLAIN, 5).shape == (ROWS, 5)


def test_only_one_of_two_rows_has_the_same_closest_one() -> None:
    best, distance = np.array([2, 2, 0]), np.array([0.5, 0.1, 3.0])
    assert mutual(best, 3, distance).tolist() == [False, True, True]


def test_a_list_that_says_little_is_outvoted() -> None:
    sure, vague = np.array([[4, 5]]), np.array([[5, 6]])
    assert vote([(sure, 1.0), (vague, 0.1)], 3).tolist() == [[4, 5, 6]]
    assert vote([(sure, 0.1), (vague, 1.0)], 4).tolist() == [[5, 6, 4, -1]]


def test_lengths_and_signatures_survive_orthogonal_covers() -> None:
    covered = (PLAIN[ORDER] @ orthogonal(WIDTH)).astype(np.float32)
    assert share(signatures(covered), signatures(PLAIN)) == 1
    norms = [np.square(x.astype(np.float64)).sum(1, keepdims=True) for x in (covered, PLAIN)]
    assert share(*norms) == 1


def test_leverage_survives_any_cover_and_lengths_do_not() -> None:
    covered = (PLAIN[ORDER] @ RNG.standard_normal((WIDTH, 2 * WIDTH))).astype(np.float32)
    assert share(leverage(covered)[:, None], leverage(PLAIN)[:, None]) == 1
    assert share(signatures(whitened(covered)), signatures(whitened(PLAIN))) == 1
    assert share(signatures(covered), signatures(PLAIN)) < 0.05


def test_other_rows_match_nothing() -> None:
    other = RNG.standard_normal(PLAIN.shape)
    assert share(signatures(whitened(other)), signatures(whitened(PLAIN))) < 0.05
