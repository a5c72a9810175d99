"""`privinf search`: one document, a model that can be shared, and exit codes that say what cannot be searched."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("matplotlib")
pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

import photographs

from privinf import speed
from privinf.cli import main
from privinf.models.spec import ModelSpec
from privinf.protocols.cost import Cost
from privinf.search import candidates
from privinf.speed import Rate, Speed
from tests.support.said import error_line, its_json

QUICK = ("optimisation.epochs=1", "distillation.logits=0", "distillation.features=0")


def counted(spec: ModelSpec, *_: object) -> Cost:
    dear = sum(block.attention != "scaling" for block in spec.blocks)
    return Cost(10 + 5 * dear, 1000, 10_000, 10_000)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that takes seconds."""
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(candidates, "counted", counted)
    rates = (Rate(1e-3, 1e-9),) * 3
    monkeypatch.setattr(speed, "stored", lambda: Speed(*rates, kernels="native", measured="2026-01-01"))
    images = photographs.folder(tmp_path / "images", 10)
    told = [word for setting in (*photographs.TINY, *QUICK) for word in ("--set", setting)]
    return ["search", "tiny", "--out", str(tmp_path / "found"), "--data", str(images), "--trials", "2", *told]


def test_one_document_and_a_model(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--network", "80,100", "--json", "--export", str(tmp_path / "model")]) == 0
    document = its_json(capsys)
    assert document["about"]["network"] == "80,100"
    assert document["pareto"][0]["architecture"] == "ss-ss"
    assert (tmp_path / "model" / "preprocessor_config.json").is_file()
    assert main([*words, "--network", "80,100"]) == 0
    assert "ss-ss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--network", "moon"], "network 'moon' is unknown"),
        (["--grain", "row"], "choosing.grain must be one of head, layer"),
        (["--bends", "all"], "choosing.bends must be one of none, token, layer"),
        (["--trials", "0"], "trials must be from 1"),
        (["--ahead", "2"], "ahead must be from 0 to 1"),
        (["--min-accuracy", "1"], "min-accuracy must be"),
        (["--max-seconds", "0.01"], "max-seconds 0.01: the cheapest of this recipe takes"),
        (["--data", "nothing"], "data set 'nothing' is unknown"),
        (["--serve", "here"], "no address: write it as host:port"),
        (["--serve", "localhost:1", "--join", "localhost:1"], "not both"),
        (["--set", "data.size=9"], "not cut into patches of 2"),
    ],
)
def test_what_is_refused(
    words: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main([*words, *more])
    assert said in error_line(found, 78, capsys)


def test_an_export_never_overwrites(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    found = main([*words, "--export", str(tmp_path / "full")])
    assert "exists and is not empty" in error_line(found, 78, capsys)
    assert not (tmp_path / "found").exists()


def test_a_file_that_is_no_image(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images" / "left" / "00.png").write_bytes(b"GIF89a")
    assert "00.png" in error_line(main(words), 65, capsys)


def test_nothing_is_accurate_enough(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = main([*words, "--min-accuracy", "0.9999"])
    assert "nothing reaches an accuracy" in error_line(found, 1, capsys)
