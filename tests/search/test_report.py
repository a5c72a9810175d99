"""The report: the Pareto set as JSON, PNG and a page that holds no markup but ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("matplotlib")

from privinf.search.report import Found, Outcome, write


def test_three_files(tmp_path: Path) -> None:
    counted = {"rounds": 40.0, "online_bytes": 1e6}
    best = (Found("ss-ss", 0.5, 1.0, counted, 0.49), Found("rr-ss", 0.6, 2.0, counted, 0.61))
    made = Outcome({"network": "wan", "data": "<b>pets"}, best, (Found("ss-rr", 0.55, 2.5),), {"complete": 3})
    write(tmp_path, made)
    document = json.loads((tmp_path / "pareto.json").read_text())
    assert [one["architecture"] for one in document["pareto"]] == ["ss-ss", "rr-ss"]
    assert document["trials"] == {"complete": 3}
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "pareto.html").read_text()
    assert "<svg" in page
    assert "61.00 %" in page
    assert "&lt;b&gt;pets" in page
    assert "<b>" not in page
    assert "http-equiv" not in page
    assert "<script" not in page


def test_nothing_was_found(tmp_path: Path) -> None:
    write(tmp_path, Outcome({}, (), (), {"pruned": 2}))
    assert json.loads((tmp_path / "pareto.json").read_text())["pareto"] == []
