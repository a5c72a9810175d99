"""Augmentation: deterministic by its generator, in its range, and each operation does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from privinf.train import geometry, randaugment
from privinf.train.augment import Scale, augment, channels_first, softened
from privinf.train.randomness import generator, number, order
from privinf.train.recipe import Augmentation

WHOLE = Augmentation(crop=0.5, shift=2, operations=2, mixup=0.8, cutmix=1.0, erase=0.5)
PLAIN = Scale((0.0,) * 3, (1.0,) * 3)


def images(count: int = 6) -> torch.Tensor:
    pixels = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return channels_first(torch.from_numpy(pixels))


def labels(count: int = 6) -> torch.Tensor:
    return torch.arange(count) % 3


def run(settings: Augmentation, seed: int = 0, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return augment(images(), labels(), 3, settings, PLAIN, epoch, generator(seed, "test"))


def test_the_same_seed_gives_the_same_batch_and_another_another() -> None:
    one, same, other = run(WHOLE), run(WHOLE), run(WHOLE, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


def test_labels_add_up_to_one_whatever_is_mixed() -> None:
    for seed in range(8):
        made, soft = run(WHOLE, seed)
        assert made.shape == (6, 3, 8, 8)
        torch.testing.assert_close(soft.sum(1), torch.ones(6))
        assert torch.isfinite(made).all()


def test_nothing_is_mixed_from_the_epoch_that_says_so() -> None:
    settings = Augmentation(flip=0, mixup=1.0, mix_until=3, smoothing=0)
    assert torch.equal(run(settings, epoch=3)[1], softened(labels(), 3, 0))
    assert not torch.equal(run(settings, epoch=2)[1], softened(labels(), 3, 0))


def test_without_augmentation_images_stay_as_they_are() -> None:
    made, soft = run(Augmentation(flip=0, smoothing=0))
    torch.testing.assert_close(made, images() / 255)
    assert soft.argmax(1).tolist() == labels().tolist()


def test_half_of_the_images_are_flipped_as_a_whole() -> None:
    made = geometry.flipped(images(64), 0.5, generator(0))
    same = [torch.equal(a, b) for a, b in zip(made, images(64), strict=True)]
    turned = [torch.equal(a, b.flip(-1)) for a, b in zip(made, images(64), strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True))
    assert 16 < sum(turned) < 48


def test_a_shift_moves_whole_pixels() -> None:
    moved = geometry.shifted(torch.ones(32, 1, 5, 5), 2, generator(0))
    assert set(moved.flatten().tolist()) == {0.0, 1.0}
    lost = (moved == 0).flatten(1).sum(1)
    assert lost.min() == 0
    assert lost.max() == 25 - 9


def test_a_crop_of_everything_is_the_image() -> None:
    whole = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    pixels = images(1) / 255
    torch.testing.assert_close(geometry.sampled(pixels, whole), pixels)
    torch.testing.assert_close(geometry.turned(pixels, torch.zeros(1)), pixels)
    torch.testing.assert_close(geometry.turned(pixels, torch.full((1,), 180.0)), pixels.flip(2, 3))


@pytest.mark.parametrize("place", range(len(randaugment.OPERATIONS)))
def test_each_operation_changes_images_and_keeps_their_shape(place: int) -> None:
    pixels = images() / 255 * 0.8
    made = randaugment.OPERATIONS[place](pixels, torch.full((6,), 0.9), torch.tensor([1.0, -1] * 3))
    assert made.shape == pixels.shape
    assert torch.isfinite(made).all()
    assert not torch.allclose(made, pixels)


def test_equalised_shades_are_ranks() -> None:
    shades = torch.tensor([[[[0.2, 0.2], [0.3, 0.9]]]])
    made = randaugment._equalised(shades, torch.ones(1), torch.ones(1))
    torch.testing.assert_close(made, torch.tensor([[[[0.0, 0.0], [0.5, 1.0]]]]))


def test_names_of_draws_keep_them_apart() -> None:
    drawn = {number(seed, *name) for seed in (0, 1) for name in (("a", 1), ("a", 11), ("a", 1, 1), ("b",))}
    assert len(drawn) == 8
    assert sorted(order(0, 3, 50)) == list(range(50))
    assert order(0, 3, 50).tolist() != order(0, 4, 50).tolist()
