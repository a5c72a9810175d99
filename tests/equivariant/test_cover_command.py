"""privinf cover: what it prints, says on stderr, and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import Kind

from privinf.cli import main
from privinf.equivariant.key import Key
from privinf.equivariant.levels import WARNING

Plain = Callable[[Kind], Path]


def test_json_names_both_parts_and_the_warning(
    plain_model: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["cover", str(plain_model("llama")), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["warning"] == WARNING
    assert document["id"] == Key.load(Path(document["client"])).about.id
    assert (Path(document["server"]) / "config.json").is_file()
    assert (document["level"], document["family"], document["task"]) == ("cover", "llama", "generate")


def test_people_are_warned_and_told_on_stderr_alone(
    plain_model: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["--level", "session", "--variants", "1", "--task", "generate"]
    assert main(["cover", str(plain_model("gpt2")), "--out", str(out), *given]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err.startswith(WARNING)
    assert "variant 1 of 1" in printed.err
    assert "never give that folder to a server" in printed.err


def test_noise_takes_its_sizes(plain_model: Plain, tmp_path: Path) -> None:
    sizes = ["--alpha-e", "0.3", "--alpha-h", "0.2", "--padding", "20", "--mixing", "0.2"]
    given = ["--level", "noise", *sizes]
    assert main(["cover", str(plain_model("llama")), "--out", str(tmp_path / "out"), *given]) == 0
    assert Key.load(tmp_path / "out" / "client").about.server_width >= 32 + 2 * 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--alpha-e", "0.1"], "settings of noise are only for the level noise"),
        (["--level", "noise", "--variants", "3"], "--variants is for the level session"),
        (["--level", "noise", "--padding", "8"], "padding: only models with RMSNorm take key matrices"),
        (["--level", "session", "--variants", "0"], "variants is a number from 1 to 10000, not 0"),
        (["--level", "noise", "--alpha-h", "-1"], "alpha_h is a number from 0"),
        (["--level", "most"], "'most' is not a level; choose one of tokens, cover, noise, session"),
        (["--task", "classify"], "a model to generate, not to classify"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    plain_model: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert main(["cover", str(plain_model("gpt2")), "--out", str(out), *given]) in (65, 78)
    assert said in capsys.readouterr().err
    assert not out.exists()
