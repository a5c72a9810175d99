"""Puts the cases of the gates' tests and the tiny models on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models")]
pytest.register_assert_rewrite("chosen", "trials")
