"""Reads what a command wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest


def its_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """All of stdout is one JSON document."""
    return json.loads(capsys.readouterr().out)


def error_line(code: int, expected: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, where nothing else was written."""
    output = capsys.readouterr()
    assert code == expected, output.err
    assert output.out == ""
    (line,) = output.err.strip().splitlines()
    return line
