"""The loop: it learns, two runs are equal bit for bit, and one that was stopped goes on as if it had not been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pixels import Linear, images, material, recipe

from privinf.errors import ConfigError, InputError
from privinf.models.learning import Seen
from privinf.train import checkpoint
from privinf.train.augment import Scale
from privinf.train.evaluate import accuracy
from privinf.train.loop import Diverged, Training
from privinf.train.losses import distance
from privinf.train.recipe import Distillation
from privinf.train.watching import Epoch, Nobody

Weights = dict[str, torch.Tensor]


def weights(training: Training) -> Weights:
    return {name: x.detach().clone() for name, x in training.network.parameters.items()}


def trained(path: Path | None, *settings: str) -> Weights:
    training = Training(recipe(*settings), Linear(), material(), path)
    training.run()
    return weights(training)


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in {*one, *other})


def test_it_learns() -> None:
    training = Training(recipe("optimisation.epochs=12"), Linear(), material(), None)
    before = accuracy(training.network, images(30, 2), Scale((0.3,) * 3, (0.2,) * 3))
    training.run()
    history = training.standing.history
    assert history[-1]["loss"] < history[0]["loss"]
    assert before < 0.9 < history[-1]["accuracy"]


def test_two_runs_are_equal_and_another_seed_is_not() -> None:
    assert same(trained(None), trained(None))
    assert not same(trained(None), trained(None, "seed=1"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, precision: str) -> None:
    path, told = tmp_path / checkpoint.FILE, f"optimisation.precision={precision}"
    whole = trained(None, told)
    Training(recipe(told), Linear(), material(), path).advance()
    again = Training(recipe(told), Linear(seed=9), material(), path)
    assert again.standing.epoch == 1
    again.run()
    assert same(weights(again), whole)
    over = Training(recipe(told), Linear(seed=9), material(), path)
    assert over.over
    assert same(weights(over), whole)


def test_a_run_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.FILE
    trained(path)
    with pytest.raises(ConfigError, match=r"other settings \(recipe.optimisation.rate, recipe.seed\)"):
        Training(recipe("optimisation.rate=0.1", "seed=3"), Linear(), material(), path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.FILE
    trained(path)
    other = Linear()
    other.parameters["head.bias"] = torch.zeros(5, requires_grad=True)
    with pytest.raises(InputError, match="another model"):
        Training(recipe(), other, material(), path)


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    network = Linear()
    network.parameters["head.bias"].data.fill_(torch.nan)
    with pytest.raises(Diverged, match="epoch 1, step 1"):
        Training(recipe(), network, material(), None).run()


def test_nothing_to_train_on() -> None:
    with pytest.raises(ConfigError, match="no image"):
        Training(recipe(), Linear(), replace(material(), train=images(0)), None)


def test_rates_decay_and_choices_have_their_own() -> None:
    network = Linear()
    network.choices = frozenset({"head.bias"})
    training = Training(recipe("choosing.rate=10", "optimisation.decay=0.5"), network, material(), None)
    groups = {group["pace"]: group["weight_decay"] for group in training._optimiser.param_groups}
    assert groups == {1.0: 0.5, 10.0: 0.5}
    still = Training(recipe("choosing.decay=false", "choosing.rate=10"), network, material(), None)
    groups = {group["pace"]: group["weight_decay"] for group in still._optimiser.param_groups}
    assert groups[10.0] == 0


def test_a_watcher_sees_every_step_and_epoch() -> None:
    class Counter(Nobody):
        steps = 0
        epochs: list[Epoch] = []  # noqa: RUF012

        def tick(self, done: int) -> None:
            self.steps += done

        def epoch(self, epoch: Epoch) -> None:
            self.epochs.append(epoch)

    counter = Counter()
    Training(recipe(), Linear(), material(), None, counter).run()
    assert (counter.steps, len(counter.epochs)) == (15, 3)
    assert all(epoch.accuracy is not None for epoch in counter.epochs)


def test_a_student_that_is_its_teacher_has_no_distance_but_the_entropy() -> None:
    logits, rows = torch.tensor([[100.0, 0.0]]), torch.ones(1, 2, 3)
    teacher = Seen(logits, rows)
    assert float(distance(teacher, teacher, Distillation())) == pytest.approx(0)
    away = Seen(logits, rows + 2)
    assert float(distance(away, teacher, Distillation(features=0.5))) == pytest.approx(2.0)


def test_a_teacher_changes_what_is_learnt() -> None:
    taught = Training(recipe(), Linear(), replace(material(), teacher=Linear(seed=5)), None)
    taught.run()
    assert not same(weights(taught), trained(None))
