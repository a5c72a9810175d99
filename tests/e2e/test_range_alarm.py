"""What a user sees of the alarm, through real servers: RangeError in place of an answer, and of a stream."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
import toy
from deployment import Deployment, in_this_process

from privinf.cli import main
from privinf.errors import RangeError
from privinf.models.engines.observers import Ranges


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan as if all that was seen had been sixteen times smaller."""
    see = Ranges.see
    monkeypatch.setattr(Ranges, "see", lambda self, site, x: see(self, site, x / 16))


def asked(deployment: Deployment, folder: Path, command: str, *options: str) -> int:
    settings = deployment.toml(folder / "client.toml")
    return main([command, "--model", str(deployment.model), "--config", settings, *options])


def test_an_encoder_withholds_an_answer(
    tmp_path: Path, narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    source = toy.checkpoint(tmp_path / "toy")
    shared = toy.share(source, tmp_path / "shared")
    with in_this_process(source, shared, tmp_path) as deployment:
        with (
            deployment.client() as client,
            pytest.raises(RangeError, match="privinf check MODEL --text FILE"),
        ):
            client.embed(["call me a ship"])
        assert asked(deployment, tmp_path, "embed", "call me a ship") == RangeError.exit_code
    assert "--calibration" in capsys.readouterr().err


def test_a_stream_ends_with_it(tmp_path: Path, narrow: None) -> None:
    source = tiny.checkpoint(tmp_path / "tiny", "llama", layers=1)
    shared = tiny.share(source, tmp_path / "shared")
    with in_this_process(source, shared, tmp_path) as deployment, deployment.client() as client:
        said: list[str] = []
        with pytest.raises(RangeError, match="--calibration"):
            said.extend(client.stream(tiny.TEXTS[0], max_new_tokens=4))
        assert said == []
        with pytest.raises(RangeError):
            client.generate(tiny.TEXTS[0], max_new_tokens=4)
