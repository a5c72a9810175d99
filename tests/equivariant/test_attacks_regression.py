"""Reading by a learnt map: planted covers are found with and without noise, and nothing is read where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import write_model

from benchmarks.measure.equivariant_reproduced import permuted
from privinf.equivariant.attacks.activations import Reading
from privinf.equivariant.attacks.causal import CausalModel
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.regression import _likeliest, learn

TOKENS, WIDTH = 800, 24
RNG = np.random.default_rng(7)
PLAIN = RNG.standard_normal((TOKENS, WIDTH)) * np.linspace(0.5, 2, WIDTH)
COVER = np.linalg.qr(RNG.standard_normal((WIDTH, WIDTH)))[0]


def read(covered: np.ndarray, seeds: int) -> float:
    """The share of tokens beyond the seeds that are read; the seeds are the first rows."""
    prediction = learn(PLAIN[:seeds], covered[:seeds])
    means, variances = prediction.means(PLAIN), prediction.variances(PLAIN)
    found, _ = _likeliest(covered[seeds:], means, variances, prediction.noise)
    return float((found[:, 0] == np.arange(seeds, TOKENS)).mean())


@pytest.mark.parametrize("columns", [WIDTH, WIDTH // 2, 2 * WIDTH])
def test_as_many_seeds_as_values_undo_any_cover(columns: int) -> None:
    cover = RNG.standard_normal((WIDTH, columns))
    assert read(PLAIN @ cover, WIDTH + 1) > 0.98


def test_far_fewer_exact_seeds_than_values_are_enough() -> None:
    """What they span is read exactly, and that tells hundreds of tokens apart; one difference alone does not."""
    assert read(PLAIN @ COVER, 2) < 0.5
    assert read(PLAIN @ COVER, WIDTH // 3) > 0.98


def test_noise_as_large_as_the_rows_yields_to_seeds() -> None:
    noisy = (PLAIN + 0.5 * PLAIN.std() * RNG.standard_normal(PLAIN.shape)) @ COVER
    assert read(noisy, 6) < 0.2
    assert read(noisy, 6 * WIDTH) > 0.8


def test_rows_without_a_cover_say_nothing() -> None:
    """The control: what is drawn by itself has no map to learn."""
    assert read(RNG.standard_normal(PLAIN.shape), 6 * WIDTH) < 0.03


def test_the_likelihood_is_that_of_a_normal_row() -> None:
    rows, means, variances = (
        np.array([[0.5, 0.0]]),
        np.array([[0.0, 0], [2, 0], [9, 9]]),
        np.array([1.0, 4, 1]),
    )
    found, misfit = _likeliest(rows, means, variances, noise=0.1)
    wanted = [
        np.square(rows[0] - m).sum() / (0.1 * v) + 2 * np.log(v)
        for m, v in zip(means, variances, strict=True)
    ]
    assert found[0].tolist() == np.argsort(wanted).tolist()
    assert misfit[0] == pytest.approx(np.sort(wanted), rel=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    folder = tmp_path_factory.mktemp("causal") / "plain"
    return CausalModel(write_model(folder, "llama", seed=3, vocab_size=300))


def prompts() -> list[Ids]:
    return [RNG.integers(0, 300, size) for size in (1, 5, 8)]


@pytest.mark.parametrize("layers", [1, 2])
def test_permuted_states_spell_prompts_out(model: CausalModel, layers: int) -> None:
    wanted = prompts()
    found = permuted(model, wanted, np.arange(300), layers, seed=1)
    assert all(np.array_equal(ids, prompt) for (ids, _), prompt in zip(found, wanted, strict=True))
    assert all(len(ids) <= tried <= 300 * len(ids) for ids, tried in found)


def test_the_states_of_another_model_spell_nothing(model: CausalModel, tmp_path: Path) -> None:
    other = CausalModel(write_model(tmp_path / "other", "llama", seed=4, vocab_size=300))
    wanted = prompts()
    reader = model.layer(1, "residual")
    assert not np.allclose(model.rows(wanted[1].tolist(), 1), other.rows(wanted[1].tolist(), 1), atol=0.1)
    rows = other.rows(wanted[2].tolist(), 1)
    decoded, tried = Reading(reader, np.arange(300)).decode(model, rows)
    assert (decoded == wanted[2]).mean() < 0.3
    assert tried == 300 * len(rows)  # nothing ever came close


def test_a_cached_beginning_changes_nothing(model: CausalModel) -> None:
    ids = prompts()[2].tolist()
    predictor = model.predictor()
    predictor.run(torch.tensor([ids[:-1]]), 1)
    (last,) = model.layer(2, "residual").candidates(predictor.past, np.array(ids[-1:]))
    assert last[0] == pytest.approx(model.rows(ids, 2)[-1], abs=1e-4)
