"""The doctor names what a machine lacks."""

from __future__ import annotations

import sys

import pytest

from privinf.cli import main
from tests.support.said import its_json


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    document = its_json(capsys)
    assert document["ok"] is True
    assert {"python", "kernels", "torch", "jinja2", "gguf", "npm", "cores"} <= {
        check["name"] for check in document["checks"]
    }
    assert all(check["ok"] or check["do"] for check in document["checks"])


def test_doctor_names_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["doctor", "--json"]) == 0
    (torch,) = [check for check in its_json(capsys)["checks"] if check["name"] == "torch"]
    assert not torch["ok"]
    assert torch["do"] == 'pip install "privinf[models]"'


def test_doctor_fails_where_a_query_could_not_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    assert main(["doctor", "--json"]) == 1
    assert its_json(capsys)["ok"] is False
