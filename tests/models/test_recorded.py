"""Rounds and bytes are what they were: a change of costs is made on purpose, and recorded."""

from __future__ import annotations

import json

import pytest
from recorded import CONFIGS, TABLE, costs


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("name", CONFIGS)
def test_costs_are_those_recorded(name: str) -> None:
    """To record others: `python tests/support/recorded.py`."""
    recorded = {case: row for case, row in json.loads(TABLE.read_text()).items() if case.split()[0] == name}
    assert costs((name,)) == recorded
