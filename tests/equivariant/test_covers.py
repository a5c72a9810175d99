"""Random matrices: each keeps what it promises to keep, and none is near singular."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.equivariant.covering import covers
from privinf.equivariant.covering.draw import F64, Draw

SEED = bytes(range(32))
SIZES = [1, 2, 3, 16, 65]


@pytest.fixture
def draw() -> Draw:
    return Draw(SEED)


@pytest.mark.parametrize("size", SIZES)
def test_orthogonal_times_its_transpose_is_one(draw: Draw, size: int) -> None:
    matrix = covers.orthogonal(draw, size)
    assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)


def test_orthogonal_is_uniform_in_its_signs() -> None:
    """QR alone would make every first entry negative."""
    firsts = [covers.orthogonal(Draw(), 3)[0, 0] for _ in range(60)]
    assert min(firsts) < 0 < max(firsts)


@pytest.mark.parametrize("size", SIZES)
def test_mean_keeping_is_orthogonal_and_leaves_ones_alone(draw: Draw, size: int) -> None:
    matrix, ones = covers.mean_keeping(draw, size), np.ones(size)
    assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    assert np.allclose(matrix @ ones, ones, atol=1e-12)
    assert np.allclose(ones @ matrix, ones, atol=1e-12)


def test_layer_norm_commutes_with_mean_keeping_and_not_with_every_rotation(draw: Draw) -> None:
    rows = draw.normal(5, 16) + 3.0
    kept, turned = covers.mean_keeping(draw, 16), covers.orthogonal(draw, 16)
    assert np.allclose(_layer_norm(rows @ kept), _layer_norm(rows) @ kept, atol=1e-12)
    assert not np.allclose(_layer_norm(rows @ turned), _layer_norm(rows) @ turned, atol=1e-2)


def _layer_norm(rows: F64) -> F64:
    rows = rows - rows.mean(-1, keepdims=True)
    normed: F64 = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)
    return normed


def test_permuting_moves_every_column_once(draw: Draw) -> None:
    row = np.arange(33.0)
    assert np.array_equal(np.sort(row @ covers.permuting(draw, 33)), row)


@pytest.mark.parametrize("size", SIZES)
def test_invertible_comes_with_its_inverse_and_is_well_conditioned(draw: Draw, size: int) -> None:
    matrices, inverses = covers.invertible(draw, size, 3)
    assert np.allclose(matrices @ inverses, np.eye(size), atol=1e-12)
    assert np.linalg.cond(matrices).max() <= covers.SPREAD**2 + 1e-9
    assert not np.allclose(matrices[0], matrices[1])


@pytest.mark.parametrize("size", [2, 4, 48])
def test_turning_keeps_rotary_scores_at_every_distance(draw: Draw, size: int) -> None:
    queries, keys = covers.turning(draw, size, 3)
    assert np.allclose(queries @ np.swapaxes(keys, -1, -2), np.eye(size), atol=1e-12)
    q, k = draw.normal(size), draw.normal(size)
    for first, second in ((0, 0), (3, 1), (100, 7)):
        plain = _rotary(q, first) @ _rotary(k, second)
        covered = _rotary(q @ queries[1], first) @ _rotary(k @ keys[1], second)
        assert covered == pytest.approx(plain, abs=1e-10)


def _rotary(row: F64, place: int) -> F64:
    half = len(row) // 2
    angle = place * 10000.0 ** (-np.arange(half) / half)
    real, imaginary = row[:half], row[half:]
    return np.concatenate(
        (
            real * np.cos(angle) - imaginary * np.sin(angle),
            imaginary * np.cos(angle) + real * np.sin(angle),
        )
    )


def test_centring_takes_the_mean_off(draw: Draw) -> None:
    rows = draw.normal(4, 9) + 5.0
    assert np.allclose(rows @ covers.centring(9), rows - rows.mean(-1, keepdims=True))
