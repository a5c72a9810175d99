"""Turns to compute: in the order in which they were asked for."""

from __future__ import annotations

import threading

import pytest
from serving import another_turn, eventually

from privinf.equivariant.serving.turns import Turns
from privinf.errors import DeadlineExceeded, PeerLost
from privinf.parties.rpc.deadline import Deadline


def test_who_takes_turn_after_turn_waits_behind_those_that_came_before() -> None:
    turns, order = Turns(), list[str]()

    def take(name: str) -> None:
        with turns.of(Deadline.after(60), lambda: True)():
            order.append(name)

    greedy = turns.of(Deadline.after(60), lambda: True)
    threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
    with greedy():
        for place, thread in enumerate(threads):
            thread.start()
            assert eventually(lambda place=place: len(turns._queue) == place + 2)  # type: ignore[misc]
    with greedy():
        order.append("greedy")
    for thread in threads:
        thread.join(60)
    assert order == ["a", "b", "c", "greedy"]


def test_who_gives_up_leaves_the_queue() -> None:
    turns = Turns()
    with another_turn(turns), pytest.raises(DeadlineExceeded), turns.of(Deadline.after(0.05), lambda: True)():
        pass
    with pytest.raises(PeerLost), turns.of(Deadline.after(5), lambda: False)():
        pass
    with turns.of(Deadline.after(5), lambda: True)():
        assert len(turns._queue) == 1
