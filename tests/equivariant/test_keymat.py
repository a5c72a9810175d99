"""Key matrices wider than the model: every one undoes every other, and none is the same twice."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import HEADS, WIDTH, write_model

from privinf.equivariant.covering.draw import Draw
from privinf.equivariant.covering.keymat import KeyMatrices, key_matrices
from privinf.equivariant.covering.noise import Noise, noisy
from privinf.equivariant.covering.plain import Plain, read_plain
from privinf.errors import ConfigError

SEED = bytes(range(32))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    return read_plain(write_model(tmp_path_factory.mktemp("llama") / "plain", "llama"))


@pytest.fixture(params=[Noise(padding=2), Noise(padding=9, mixing=0.4), Noise(padding=100)])
def keys(plain: Plain, request: pytest.FixtureRequest) -> KeyMatrices:
    return key_matrices(plain, Draw(SEED), request.param)


def test_any_reader_undoes_any_producer(keys: KeyMatrices) -> None:
    producers, readers = [keys.write() for _ in range(3)], [keys.read() for _ in range(3)]
    for write in producers:
        for read in readers:
            assert np.allclose(write @ read, np.eye(WIDTH), atol=1e-9)


def test_no_two_producers_and_no_two_readers_are_the_same(keys: KeyMatrices) -> None:
    assert not np.allclose(keys.write(), keys.write(), atol=1e-3)
    assert not np.allclose(keys.read(), keys.read(), atol=1e-3)


def test_the_width_is_one_that_transformers_takes(keys: KeyMatrices) -> None:
    assert keys.write().shape == (WIDTH, keys.width)
    assert keys.read().shape == (keys.width, WIDTH)
    assert keys.width > WIDTH
    assert keys.width % HEADS == 0


def test_norms_divide_by_what_the_gain_makes_up_for(keys: KeyMatrices) -> None:
    """The mean square of covered rows, times the squared gain, is that of plain ones on average."""
    rows = Draw(SEED).normal(500, WIDTH)
    covered = (rows @ keys.write()) / keys.gain
    assert (covered**2).mean() == pytest.approx((rows**2).mean(), rel=0.1)


def test_without_mixing_norms_are_exact(plain: Plain) -> None:
    keys = key_matrices(plain, Draw(SEED), Noise(mixing=0.0))
    rows = Draw(SEED).normal(50, WIDTH)
    covered = np.linalg.norm(rows @ keys.write(), axis=1)
    assert np.allclose(covered, keys.stretch * np.linalg.norm(rows, axis=1))


def test_noise_is_measured_in_deviations_of_what_it_hides() -> None:
    x = 7.0 * Draw(SEED).normal(100, 100)
    added = noisy(x, 0.5, Draw(SEED)) - x
    assert added.std() == pytest.approx(3.5, rel=0.05)
    assert noisy(x, 0.0, Draw(SEED)) is x


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha_e": -0.1},
        {"alpha_h": float("nan")},
        {"alpha_e": float("inf")},
        {"padding": 1},
        {"mixing": 0.5},
    ],
)
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Noise(**wrong)  # type: ignore[arg-type]
