"""Randomness of conversions: fresh at every call, bounded where it says so, distributed as it says."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.equivariant.covering.draw import Draw

SEED = bytes(range(32))


def test_same_seed_draws_the_same_and_fresh_ones_do_not() -> None:
    assert np.array_equal(Draw(SEED).words(9), Draw(SEED).words(9))
    assert not np.array_equal(Draw().words(9), Draw().words(9))


def test_no_call_repeats_another() -> None:
    draw = Draw(SEED)
    assert not np.array_equal(draw.words(9), draw.words(9))


def test_uniform_lies_in_the_unit_interval_and_fills_it() -> None:
    drawn = Draw(SEED).uniform(100, 100)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert np.histogram(drawn, bins=10, range=(0, 1))[0].min() > 850


@pytest.mark.parametrize("shape", [(1,), (7,), (301, 333)])
def test_normal_has_the_shape_asked_for_and_is_finite(shape: tuple[int, ...]) -> None:
    drawn = Draw(SEED).normal(*shape)
    assert drawn.shape == shape
    assert np.isfinite(drawn).all()


def test_normal_has_the_moments_of_the_normal_distribution() -> None:
    drawn = Draw(SEED).normal(200_001)
    moments = [(drawn**k).mean() for k in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.05)
    half = len(drawn) // 2
    assert abs((drawn[:half] * drawn[half : 2 * half]).mean()) < 0.02


def test_orders_are_permutations_and_every_place_is_reached() -> None:
    draw = Draw(SEED)
    orders = np.stack([draw.order(5) for _ in range(2000)])
    assert np.array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(5), orders.shape))
    counts = np.array([np.bincount(column, minlength=5) for column in orders.T])
    assert counts.min() > 320
    assert counts.max() < 480


def test_signs_and_scales_stay_in_their_ranges() -> None:
    draw = Draw(SEED)
    signs, scales = draw.signs(4000), draw.scales(4000, spread=2.0)
    assert set(signs) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.08
    assert scales.min() >= 0.5
    assert scales.max() <= 2.0
    assert abs(np.log(scales).mean()) < 0.05
