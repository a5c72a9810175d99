"""Memory goes back to the system once nothing is under way for a moment, and not before."""

from __future__ import annotations

import ctypes
import threading

import pytest

from privinf.parties import memory
from privinf.parties.memory import Idle, give_back


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    event = threading.Event()
    monkeypatch.setattr(memory, "give_back", event.set)
    return event


def test_it_is_given_back_when_nothing_goes_on(given: threading.Event) -> None:
    Idle(lambda: False, seconds=0.01).ended()
    assert given.wait(5)


def test_it_stays_while_something_goes_on(given: threading.Event) -> None:
    looked = threading.Event()

    def busy() -> bool:
        looked.set()
        return True

    Idle(busy, seconds=0.01).ended()
    assert looked.wait(5)
    assert not given.wait(0.05)


def test_it_is_looked_for_once_after_the_last_end_and_never_after_the_close(given: threading.Event) -> None:
    looks: list[None] = []
    idle = Idle(lambda: bool(looks.append(None)), seconds=0.5)
    for _ in range(20):
        idle.ended()
    assert given.wait(5)
    assert len(looks) == 1
    given.clear()
    idle.ended()
    idle.close()
    assert not given.wait(0.7)


def test_a_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back()
