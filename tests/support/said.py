"""Reads what a command wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

# Of a long command: a line each, where no bar can be
STAGES = ("reading", "calibrating", "planning", "writing")


def its_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """All of stdout is one JSON document."""
    return json.loads(capsys.readouterr().out)


def error_line(code: int, expected: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, where nothing else was written but the stages that came before it."""
    output = capsys.readouterr()
    assert code == expected, output.err
    assert output.out == ""
    *before, line = output.err.strip().splitlines()
    assert all(said.startswith(STAGES) for said in before), output.err
    return line
