"""Angles of rotary positions are taken from one table, and are what each place alone would give."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.models.engines import positions
from privinf.models.engines.positions import angles, circle, turns
from privinf.models.parts import Rotary
from privinf.models.plan import scales
from privinf.protocols import ring

ROTARY = Rotary(theta=100.0, width=6)


def test_rows_hold_the_cosines_and_sines_of_their_places() -> None:
    first, most = np.array([0, 3, 9]), 8
    table = angles(first, 7, ROTARY, most)
    for step in range(7):
        cos, sin = (ring.encode(part, scales.ROTARY) for part in turns(first + step, ROTARY))
        assert (table[step].reshape(2, 3, ROTARY.width // 2) == np.stack([cos, sin])).all()


def test_the_table_is_made_once_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(
        positions, "turns", lambda places, *of: made.append(len(places)) or turns(places, *of)
    )
    circle.cache_clear()
    for start in range(5):
        angles(np.array([start]), 4, ROTARY, 8)
    assert made == [16]
    with pytest.raises(ValueError, match="read-only"):
        circle(ROTARY, 8)[0][0] = 1


def test_a_place_that_is_not_in_the_table_is_no_other_place() -> None:
    for first in (-1, 13):
        with pytest.raises((AssertionError, IndexError)):
            angles(np.array([first]), 4, ROTARY, 8)
