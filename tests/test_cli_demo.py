"""The demos of the command line: a real model, three processes, and what float32 says."""

from __future__ import annotations

import pytest

from privinf.cli import demo_generate, main
from privinf.errors import ConfigError
from privinf.formats.fetch import fetch
from privinf.models.sharing import calibrate
from tests.support.said import error_line, its_json


@pytest.mark.slow
@pytest.mark.processes
def test_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = calibrate.default_text()[::4]
    monkeypatch.setattr(calibrate, "default_text", lambda: texts)
    try:
        fetch("minilm")
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")
    assert main(["demo", "--sentences", "2", "--json"]) == 0
    document = its_json(capsys)
    assert document["sentences"] == 2
    assert 1.001 > document["cosine_mean"] >= document["cosine_min"] > 0.9995
    for name in ("online_s", "offline_s", "rounds", "online_bytes", "offline_bytes"):
        assert document[name] > 0, name


@pytest.mark.slow
@pytest.mark.processes
def test_demo_of_generation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_generate, "COUNT", 4)
    monkeypatch.setattr(demo_generate, "CALIBRATION", 10)
    try:
        fetch("tinystories")
    except ConfigError as error:
        pytest.skip(f"tinystories cannot be fetched: {error}")
    assert main(["demo", "--generate", "--model", "tinystories", "--json"]) == 0
    document = its_json(capsys)
    assert [len(answer["tokens"]) for answer in document["answers"]] == [4, 4]
    for answer in document["answers"]:
        assert answer["identical"] == (answer["same"] == 4) == (answer["text"] == answer["clear_text"])
        for name in ("seconds_a_token", "rounds_a_token", "online_bytes_a_token", "offline_bytes_a_token"):
            assert answer[name] > 0, name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--model", "tinystories"], "--model: this is for --generate"),
        (["demo", "--generate", "--sentences", "4"], "--sentences: this is for embeddings"),
        (["demo", "--generate", "--model", "gpt5"], "--model is smollm2 or tinystories"),
        (["generate", "--model", "nowhere", "calm"], "lacks parties"),
        (["chat", "--model", "nowhere"], "lacks parties"),
    ],
)
def test_options_that_do_not_fit(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in error_line(main(words), 78, capsys)
