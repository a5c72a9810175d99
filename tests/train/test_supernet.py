"""Supernets: at either end they are one of their arms, and seconds pull where the network is dear."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import vision

pytest.importorskip("PIL.Image")

import photographs

from privinf.train.building import architecture_of, images_of
from privinf.train.prices import Price
from privinf.train.recipe import Choosing
from privinf.train.run import Job
from privinf.train.supernet import ALPHA, BETA, Choices, Supernet
from privinf.train.watching import Nobody


def supernet(alpha: float, beta: float | None = None, grain: str = "head") -> Supernet:
    told = Choosing(grain=grain, bends="none" if beta is None else "token")  # type: ignore[arg-type]
    choices = Choices.start(told, vision.LAYERS, vision.HEADS, vision.ROWS)
    with torch.no_grad():
        choices.alpha.fill_(alpha)
        if choices.beta is not None:
            assert beta is not None
            choices.beta.fill_(beta)
    return Supernet(vision.network("relu_softmax"), choices)


@pytest.mark.parametrize("grain", ["head", "layer"])
@pytest.mark.parametrize(("alpha", "variant"), [(1.0, "relu_softmax"), (0.0, "scaling")])
def test_at_either_end_it_is_one_arm(alpha: float, variant: str, grain: str) -> None:
    made = supernet(alpha, grain=grain).run(vision.images()).logits
    torch.testing.assert_close(made, vision.network(variant).run(vision.images()).logits)


@pytest.mark.parametrize(("beta", "activation"), [(1.0, "gelu"), (0.0, "linear")])
def test_activations_too(beta: float, activation: str) -> None:
    made = supernet(1.0, beta).run(vision.images()).logits
    wanted = vision.network("relu_softmax", activation).run(vision.images()).logits
    torch.testing.assert_close(made, wanted)


def test_heads_choose_by_themselves() -> None:
    made = supernet(1.0)
    with torch.no_grad():
        made.parameters[ALPHA][:, 1] = 0.0
    wanted = vision.network(("relu_softmax", "scaling")).run(vision.images()).logits
    torch.testing.assert_close(made.run(vision.images()).logits, wanted)


def test_gradients_reach_every_choice() -> None:
    made = supernet(0.7, 0.6)
    assert made.choices == {ALPHA, BETA}
    made.run(vision.images()).logits.square().sum().backward()
    alpha, beta = (made.parameters[name].grad for name in (ALPHA, BETA))
    assert alpha is not None
    assert beta is not None
    assert (alpha != 0).all()
    assert (beta[:, 0] != 0).all()
    assert (beta[:-1] != 0).all()
    assert (beta[-1, 1:] == 0).all()  # of the last layer, the first row alone is asked for


def priced(alpha: torch.Tensor, prices: list[Price], seconds: float = 1.0) -> Choices:
    told = Choosing(penalty=0.0, seconds=seconds)
    return replace(Choices(told, alpha.requires_grad_()).priced(prices, []))


def test_seconds_of_choices_that_are_made_are_those_of_the_prices() -> None:
    prices = [Price(1.0, 0.25), Price(2.0, 0.5)]
    one = priced(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), prices)
    assert float(one.seconds().detach()) == pytest.approx(1.25, rel=1e-4)
    assert one.whole == pytest.approx(1.5 + 3.0)
    assert float(one.penalty().detach()) == pytest.approx(1.25 / 4.5, rel=1e-4)


def test_where_rounds_are_dear_the_weaker_layer_is_pulled_harder() -> None:
    alpha = torch.tensor([[0.9, 0.9], [0.1, 0.9]])
    wide = priced(alpha.clone(), [Price(1.0, 0.0)] * 2)
    wide.penalty().backward()
    near = priced(alpha.clone(), [Price(0.0, 1.0)] * 2)
    near.penalty().backward()
    assert wide.alpha.grad is not None
    assert near.alpha.grad is not None
    assert wide.alpha.grad[0, 0] == wide.alpha.grad[0, 1] > 0
    assert wide.alpha.grad[1, 1] > wide.alpha.grad[0, 1]
    assert len(set(near.alpha.grad.flatten().tolist())) == 1


def test_the_papers_penalty_is_of_absolute_values() -> None:
    choices = Choices(Choosing(penalty=0.5), torch.tensor([[1.0, -1.0]], requires_grad=True))
    assert float(choices.penalty().detach()) == pytest.approx(1.0)


def test_choices_are_trained_and_kept_with_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    recipe = photographs.recipe(photographs.folder(tmp_path / "images", 10), "choosing.penalty=1")
    images = images_of(recipe.data, recipe.seed)
    recipe = replace(recipe, model=replace(recipe.model, attention="relu_softmax"))
    job = Job(recipe, images, architecture_of(recipe, None, images.whole))

    def training() -> torch.Tensor:
        choices = Choices.start(recipe.choosing, recipe.model.layers, recipe.model.heads, 17)
        job.training(tmp_path / "run", Nobody(), Supernet(job.network(), choices)).run()
        return choices.alpha.detach()

    (tmp_path / "run").mkdir()
    first = training()
    assert (first < 1).all()
    assert torch.equal(training(), first)  # from the checkpoint, without a step
