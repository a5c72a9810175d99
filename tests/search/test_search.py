"""A whole search on small images: supernet, trials, report and export; what is refused; a killed one goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("matplotlib")
pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

import photographs

from privinf.errors import ConfigError, InputError
from privinf.models.spec import ModelSpec
from privinf.protocols.cost import Cost
from privinf.search import candidates, settings
from privinf.search.report import Outcome
from privinf.search.run import NothingFound, export, search
from privinf.search.settings import Search
from privinf.speed import Rate, Speed

SPEED = Speed(Rate(1e-3, 1e-9), Rate(1e-3, 1e-9), Rate(1e-3, 1e-9), "native", "2026-01-01")


def counted(spec: ModelSpec, *_: object) -> Cost:
    """Ten rounds a layer, five more where a head is dear, and a kilobyte a head."""
    total = Cost()
    for block in spec.blocks:
        names = (block.attention,) if isinstance(block.attention, str) else block.attention
        dear = sum(name == "relu_softmax" for name in names) * (spec.heads // len(names))
        total += Cost(10 + 5 * (dear > 0), 1000 * dear, 10_000, 10_000)
    return total


@pytest.fixture(autouse=True)
def quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without counting, which tests of the protocol hold to what is sent."""
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(candidates, "counted", counted)


@pytest.fixture
def asked(tmp_path: Path) -> Search:
    recipe = photographs.recipe(photographs.folder(tmp_path / "images", 20), "optimisation.epochs=2")
    return Search(recipe, SPEED, network="wan", trials=5)


def run(asked: Search, folder: Path) -> Outcome:
    return search(asked, folder)


def test_a_search_ends_with_a_pareto_set_and_a_model(asked: Search, tmp_path: Path) -> None:
    made = run(asked, tmp_path / "found")
    document = json.loads((tmp_path / "found" / "pareto.json").read_text())
    assert [one["architecture"] for one in document["pareto"]] == [one.architecture for one in made.best]
    assert document["about"]["network"] == "wan"
    assert sum(document["trials"].values()) >= 5
    assert all(one.test is not None for one in made.best)
    assert made.best[0].architecture == "ss-ss"
    assert made.best[0].seconds == pytest.approx(asked.clock.seconds(Cost(20, 0, 20_000, 20_000)))
    assert (tmp_path / "found" / "pareto.png").is_file()
    assert (tmp_path / "found" / "pareto.html").is_file()
    name = export(asked, tmp_path / "found", made, tmp_path / "model")
    assert name == made.best[-1].architecture
    assert (tmp_path / "model" / "config.json").is_file()
    with pytest.raises(ConfigError, match="not in the Pareto set: choose one of ss-ss"):
        export(asked, tmp_path / "found", made, tmp_path / "other", "xx-xx")


def test_a_search_that_is_over_is_reported_again_and_may_go_on(asked: Search, tmp_path: Path) -> None:
    one = run(asked, tmp_path / "found")
    assert run(asked, tmp_path / "found") == one
    more = run(replace(asked, trials=7), tmp_path / "found")
    assert sum(more.ended.values()) >= 7


def test_a_killed_search_goes_on_as_if_it_had_not_been(
    asked: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(asked, tmp_path / "whole")
    real, turns = candidates.Candidates.train, iter(range(100))

    def killed(self: candidates.Candidates, *given: object) -> float | None:
        if next(turns) in (1, 4):
            raise KeyboardInterrupt
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(candidates.Candidates, "train", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(asked, tmp_path / "broken")
    assert run(asked, tmp_path / "broken") == whole
    for one in whole.best:
        weights = [
            tmp_path / name / "models" / one.architecture / "model" / "model.safetensors"
            for name in ("whole", "broken")
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_another_search_is_refused_by_what_differs(asked: Search, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    settings.keep(tmp_path / "found", asked)
    other = replace(asked, network="lan", recipe=replace(asked.recipe, seed=1))
    with pytest.raises(ConfigError, match=r"another search \(network, recipe.seed\)"):
        settings.keep(tmp_path / "found", other)
    (tmp_path / "found" / settings.FILE).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        settings.keep(tmp_path / "found", asked)


def test_contradictory_limits_are_refused_before_anything_is_trained(asked: Search, tmp_path: Path) -> None:
    recipe = replace(asked.recipe, distillation=replace(asked.recipe.distillation, logits=0.0, features=0.0))
    with pytest.raises(
        ConfigError, match=r"max-seconds 0.1: the cheapest of this recipe takes 0.22 s on wan"
    ):
        run(replace(asked, most_seconds=0.1, recipe=recipe), tmp_path / "found")
    assert not (tmp_path / "found" / "models").exists()
    with pytest.raises(ConfigError, match="serves its trials or joins"):
        search(asked, tmp_path / "other", serve="localhost:1", join="localhost:1")


def test_nothing_is_as_accurate_as_asked(asked: Search, tmp_path: Path) -> None:
    with pytest.raises(NothingFound, match=r"accuracy of 0.999: .*pareto.json"):
        run(replace(asked, least_accuracy=0.999, trials=1), tmp_path / "found")
    assert (tmp_path / "found" / "pareto.json").is_file()


@pytest.mark.parametrize(
    "given",
    [{"trials": 0}, {"ahead": 2.0}, {"most_seconds": 0.0}, {"least_accuracy": 1.0}, {"network": "moon"}],
)
def test_settings_out_of_their_range(asked: Search, given: dict[str, object]) -> None:
    with pytest.raises((ConfigError, InputError)) as caught:
        replace(asked, **given)  # type: ignore[arg-type]
    assert caught.value.exit_code == 78
