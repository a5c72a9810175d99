"""`privinf train`: one document, exit codes that say what went wrong, and nothing trained where something is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL.Image")

import photographs

from privinf.cli import main
from tests.support.said import error_line, its_json

assert torch  # a test without it skips itself


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that takes a second."""
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    images = photographs.folder(tmp_path / "images", 6)
    told = [word for setting in photographs.TINY for word in ("--set", setting)]
    return ["train", "tiny", "--out", str(tmp_path / "run"), "--data", str(images), *told]


def test_one_document(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--json"]) == 0
    document = its_json(capsys)
    assert document["epochs"] == 3
    assert document["model"] == str(tmp_path / "run" / "model")
    assert main(words) == 0
    output = capsys.readouterr()
    assert output.out == f"{tmp_path / 'run'}\n"
    assert "% on the test images after 3 epochs" in output.err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--data", "imagenet"], 78, "data set 'imagenet' is unknown"),
        (["--set", "optimisation.rate=2"], 78, "optimisation.rate must be above 0"),
        (["--set", "model.patch=3"], 78, "not cut into patches of 3"),
        (["--set", "data.size=5000"], 78, "data.size must be"),
        (["--architecture", "xx"], 78, "no architecture of 2 layers of 2 heads"),
        (["--teacher", "nothing"], 78, "no run of `privinf train`"),
        (["--set", "data.validation=0.999"], 78, "leave none to validate on"),
    ],
)
def test_what_is_refused(
    words: list[str], more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main([*words, *more])
    assert said in error_line(found, code, capsys)


def test_a_file_that_is_no_image(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images" / "left" / "00.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert "00.png" in error_line(main(words), 65, capsys)


def test_an_unknown_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = main(["train", "large", "--out", str(tmp_path)])
    assert "choose one of paper-cifar10" in error_line(found, 78, capsys)
