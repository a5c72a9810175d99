"""Distributions equal those of transformers' processors, draws follow them, and bad settings are refused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from privinf.errors import InputError
from privinf.options import Sampling
from privinf.sampling import F32, F64, Sampler

VOCAB = 120
SETTINGS = list(
    itertools.product((0.3, 1.0, 2.5), (None, 1, 20, 500), (None, 0.05, 0.6, 0.95, 1.0), (1.0, 0.7, 1.4))
)


def _logits(seed: int, vocab: int = VOCAB) -> F32:
    return np.random.default_rng(seed).normal(scale=4, size=vocab).astype(np.float32)


def _transformers(sampling: Sampling, logits: F32, seen: Sequence[int]) -> F64:
    """The probabilities that transformers.generate would draw from."""
    torch = pytest.importorskip("torch")
    process = pytest.importorskip("transformers.generation.logits_process")
    steps = [process.RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty))]
    steps += [process.TemperatureLogitsWarper(float(sampling.temperature))] if sampling.temperature else []
    steps += [process.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    steps += [process.TopPLogitsWarper(sampling.top_p)] if sampling.top_p else []
    ids, scores = torch.tensor([list(seen)]), torch.tensor(logits)[None]
    for step in steps:
        scores = step(ids, scores)
    result: F64 = scores[0].double().softmax(-1).numpy()
    return result


@pytest.mark.fast_cases(24)
@pytest.mark.parametrize(("temperature", "top_k", "top_p", "penalty"), SETTINGS)
def test_distributions_equal_those_of_transformers(
    temperature: float, top_k: int | None, top_p: float | None, penalty: float
) -> None:
    sampling = Sampling(temperature, top_k, top_p, penalty)
    for seed in range(5):
        logits, seen = _logits(seed), [int(_logits(seed).argmax()), 3, 3, 7, 119]
        ours, theirs = Sampler(sampling).distribution(logits, seen), _transformers(sampling, logits, seen)
        assert ours.dtype == np.float64
        assert ((ours > 0) == (theirs > 0)).all()
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.mark.parametrize("penalty", [1.0, 0.5, 1.3, 5.0])
def test_greedy_choices_equal_those_of_transformers(penalty: float) -> None:
    sampling = Sampling(repetition_penalty=penalty, top_k=3, top_p=0.2)
    for seed in range(50):
        logits = _logits(seed)
        seen = logits.argsort()[-10:].tolist()
        theirs = int(_transformers(Sampling(repetition_penalty=penalty), logits, seen).argmax())
        assert Sampler(sampling).choose(logits, seen) == theirs


def test_greedy_takes_the_lowest_of_equals_after_the_penalty() -> None:
    logits = np.array([1, 4, 2, 2, 2], dtype=np.float32)
    assert Sampler(Sampling()).choose(logits, [1]) == 1
    assert Sampler(Sampling(repetition_penalty=2.0)).choose(logits, [1]) == 1
    assert Sampler(Sampling(repetition_penalty=4.0)).choose(logits, [1]) == 2


def test_the_penalty_counts_once_and_lowers_negative_logits() -> None:
    sampler = Sampler(Sampling(temperature=1.0, repetition_penalty=2.0))
    logits = np.array([2, -1, 0.5], dtype=np.float32)
    np.testing.assert_allclose(
        np.diff(np.log(sampler.distribution(logits, [0, 1, 0, 1, 1]))), [-3, 2.5], rtol=1e-12
    )
    assert logits.tolist() == [2, -1, 0.5]


def test_ids_beyond_the_logits_are_passed_over() -> None:
    sampler = Sampler(Sampling(temperature=1.0, repetition_penalty=2.0))
    logits = _logits(0)
    assert (sampler.distribution(logits, [5, VOCAB, 9999]) == sampler.distribution(logits, [5])).all()
    assert (sampler.distribution(logits, []) == sampler.distribution(logits, [VOCAB])).all()


def test_top_k_keeps_what_is_as_likely_as_the_last() -> None:
    sampler = Sampler(Sampling(temperature=1.0, top_k=2))
    assert sampler.distribution(np.array([3, 1, 2, 2, 0], dtype=np.float32), [])[[1, 4]].sum() == 0
    assert sampler.distribution(np.array([3, 1, 2, 2, 0], dtype=np.float32), [])[[2, 3]].min() > 0


def test_top_p_stops_as_soon_as_it_is_reached() -> None:
    logits = np.zeros(4, dtype=np.float32)
    for top_p, kept in ((0.25, 1), (0.3, 2), (0.5, 2), (0.75, 3), (0.76, 4)):
        assert np.count_nonzero(Sampler(Sampling(1.0, top_p=top_p)).distribution(logits, [])) == kept


def test_the_smallest_top_p_keeps_one_token() -> None:
    chosen = Sampler(Sampling(temperature=5.0, top_p=1e-12)).distribution(_logits(1), [])
    assert chosen.nonzero()[0].tolist() == [_logits(1).argmax()]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-9])
def test_near_temperature_zero_is_greedy(temperature: float) -> None:
    logits = _logits(2)
    chosen = Sampler(Sampling(temperature, top_p=0.9)).distribution(logits, [])
    assert chosen[logits.argmax()] == 1
    assert chosen.sum() == 1


def test_masked_logits_are_never_chosen() -> None:
    logits = np.array([-np.inf, 0, -np.inf, 0, -np.inf], dtype=np.float32)
    sampler = Sampler(Sampling(temperature=3.0, top_k=4, repetition_penalty=1.5, seed=0))
    assert {sampler.choose(logits, [0, 1]) for _ in range(100)} == {1, 3}


def test_draws_follow_the_distribution() -> None:
    sampler, draws = Sampler(Sampling(temperature=4.0, top_k=12, seed=11)), 20_000
    logits = _logits(3)
    expected = sampler.distribution(logits, []) * draws
    counts = np.bincount([sampler.choose(logits, []) for _ in range(draws)], minlength=VOCAB)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert statistic < 31.26  # of 11 degrees of freedom, exceeded once in a thousand


def test_equal_seeds_draw_alike() -> None:
    def drawn(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=5.0, seed=seed))
        return [sampler.choose(_logits(4), []) for _ in range(40)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(None) != drawn(None)


def test_no_number_draws_what_is_impossible() -> None:
    class Edge:
        def __init__(self, value: float) -> None:
            self.value = value

        def random(self) -> float:
            return self.value

    sampler, probabilities = Sampler(Sampling(temperature=1.0)), np.array([0, 0.1, 0, 0.2, 0.7, 0])
    for value, token in ((0.0, 1), (np.nextafter(0.1, 0), 1), (0.1, 3), (np.nextafter(1, 0), 4)):
        sampler._random = Edge(value)  # type: ignore[assignment]
        assert sampler.draw(probabilities) == token


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": float("nan")}, "temperature must be 0"),
        ({"temperature": float("inf")}, "temperature must be 0"),
        ({"temperature": 10**400}, "temperature must be 0"),
        ({"temperature": "1"}, "temperature must be 0"),
        ({"temperature": True}, "temperature must be 0"),
        ({"top_k": 0}, "top_k must be a whole number.*leave it out"),
        ({"top_k": 1.5}, "top_k must be"),
        ({"top_p": 0}, "top_p must be above 0.*leave it out"),
        ({"top_p": 1.01}, "top_p must be above 0"),
        ({"repetition_penalty": 0}, "repetition_penalty must be from"),
        ({"repetition_penalty": float("nan")}, "1 is no penalty"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Sampling(**settings)  # type: ignore[arg-type]


def test_settings_may_come_as_numbers_of_any_kind() -> None:
    assert Sampling(np.float32(0.5), np.int64(3), 1, 2, np.int64(0)).greedy is False  # type: ignore[arg-type]
    assert Sampling(0).greedy is True


@pytest.mark.parametrize(
    "logits",
    [
        np.zeros((2, 3), dtype=np.float32),
        np.zeros(0, dtype=np.float32),
        np.array([0, np.nan], dtype=np.float32),
        np.array([0, np.inf], dtype=np.float32),
        np.array([0, 1e38], dtype=np.float32),
        np.full(3, -np.inf, dtype=np.float32),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_none_are_refused(logits: F32, temperature: float) -> None:
    with pytest.raises(InputError, match="logits"):
        Sampler(Sampling(temperature)).choose(logits, [])


def test_negative_ids_are_refused() -> None:
    with pytest.raises(InputError, match="counted from 0"):
        Sampler(Sampling(repetition_penalty=1.1)).choose(_logits(0), [3, -1])
