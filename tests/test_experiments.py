"""Experiments of many runs: intervals, runs that keep their outcome, and which needs which."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness.intervals import difference, interval
from benchmarks.harness.rows import MeasureError
from benchmarks.harness.runs import Run, done, keep, perform, timed


def test_an_interval_is_students() -> None:
    found = interval([0.60, 0.62, 0.61])
    assert found["mean"] == pytest.approx(0.61)
    assert found["half_width"] == pytest.approx(4.303 * 0.01 / 3**0.5)
    assert "half_width" not in interval([0.5])


def test_a_claim_holds_where_its_interval_leaves_zero_out() -> None:
    low = {0: 0.50, 1: 0.52, 2: 0.51}
    high = {seed: value + 0.05 + 0.001 * seed for seed, value in low.items()}
    assert difference(high, low)["says"] == "higher"
    assert difference(low, high)["says"] == "lower"
    assert difference(low, {0: 0.55, 1: 0.49, 2: 0.51})["says"] == "not resolved"
    assert difference({0: 1.0}, {0: 0.0})["says"] == "not resolved"


def test_a_run_that_is_over_is_not_run_again(tmp_path: Path) -> None:
    assert done(tmp_path, "one") is None
    (tmp_path / "one").mkdir()
    keep(tmp_path, "one", timed(lambda: {"accuracy": 0.5}))
    found = done(tmp_path, "one")
    assert found is not None
    assert found["accuracy"] == 0.5
    assert found["core_seconds"] >= 0
    perform("no.such.module", tmp_path, [Run("one")], 2, [])


def test_a_run_that_fails_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"two failed: see .*two/log"):
        perform("no.such.module", tmp_path, [Run("two")], 2, [])


def test_runs_that_need_each_other(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="need each other: one, two"):
        perform("no.such.module", tmp_path, [Run("one", ("two",)), Run("two", ("one",))], 2, [])
