"""Attempts to reach a peer, and what is said when time runs out."""

from __future__ import annotations

import time

import pytest

from privinf.errors import ConnectError, DeadlineExceeded, PrivinfError
from privinf.parties.rpc.deadline import Deadline, persist


@pytest.mark.parametrize(("phase", "kind"), [("connect", ConnectError), ("offline", DeadlineExceeded)])
def test_a_peer_that_could_not_be_reached_is_named_when_time_runs_out(
    phase: str, kind: type[PrivinfError]
) -> None:
    """A slow machine sleeps past the deadline; once a peer was reached, its slowness is what happened."""
    outcomes: list[PrivinfError] = [
        ConnectError("party1 cannot be reached"),
        DeadlineExceeded("", phase=phase),
    ]

    def attempt() -> None:
        raise outcomes.pop(0)

    with pytest.raises(kind):
        persist(attempt, 60.0, Deadline.after(60.0))
    assert not outcomes


def test_a_deadline_before_the_first_attempt_is_the_deadlines() -> None:
    deadline = Deadline(time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded):
        persist(lambda: deadline.left("connect"), 1.0, deadline)
