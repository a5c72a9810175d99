"""The queue of party 0: bounded, fair between clients, and honest about when to come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from harness import wait_until

from privinf.errors import DeadlineExceeded, Overloaded, PeerLost, PrivinfError
from privinf.parties.admission import Parked, Queue, Room
from privinf.parties.deadline import Deadline
from privinf.parties.life import Life


def life(seconds: float = 60.0) -> Life:
    """A call's life."""
    return Life(Deadline.after(seconds))


class Callers:
    """Threads that wait for a place, hold it until told, and note in which order they had it."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.order = queue, list[str]()
        self._leave = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def come(self, client: str, times: int = 1) -> None:
        """Have so many calls of a client wait, one behind the other."""
        for _ in range(times):
            before = self.queue.running + self.queue.waiting
            self._threads.append(threading.Thread(target=self._call, args=(client,), daemon=True))
            self._threads[-1].start()
            wait_until(lambda before=before: self.queue.running + self.queue.waiting == before + 1)  # type: ignore[misc]

    def leave(self) -> None:
        """Have one that computes end, and wait until the next computes."""
        want = min(len(self.order) + 1, len(self._threads))
        self._leave.release()
        wait_until(lambda: len(self.order) >= want)

    def end(self) -> None:
        """Have all end."""
        for _ in self._threads:
            self._leave.release()
        for thread in self._threads:
            thread.join(10)

    def _call(self, client: str) -> None:
        with self.queue.place(client, life()):
            self.order.append(client)
            self._leave.acquire()


@contextmanager
def callers(queue: Queue) -> Iterator[Callers]:
    """Give callers that are gone in the end."""
    made = Callers(queue)
    try:
        yield made
    finally:
        made.end()
        assert (queue.running, queue.waiting) == (0, 0)


def test_a_client_that_asks_for_much_waits_for_itself() -> None:
    with callers(Queue(Room(1, 1, 20, 20), 60.0)) as made:
        made.come("greedy", 6)
        made.come("modest")
        made.come("other", 2)
        while len(made.order) < 9:
            made.leave()
    assert made.order[0] == "greedy"
    assert sorted(made.order[:5]) == ["greedy", "greedy", "modest", "other", "other"] or sorted(
        made.order[:4]
    ) == ["greedy", "greedy", "modest", "other"]
    assert made.order[-3:] == ["greedy"] * 3


def test_no_client_takes_all_places() -> None:
    with callers(Queue(Room(4, 2, 20, 20), 60.0)) as made:
        made.come("greedy", 5)
        wait_until(lambda: len(made.order) == 2)
        assert (made.queue.running, made.queue.waiting) == (2, 3)
        made.come("modest")
        wait_until(lambda: made.order == ["greedy", "greedy", "modest"])


def test_a_queue_that_others_fill_for_their_own_places_keeps_nobody_from_a_free_one() -> None:
    with callers(Queue(Room(4, 1, 2, 1), 60.0)) as made:
        made.come("a", 2)
        made.come("b", 2)
        assert (made.queue.running, made.queue.waiting) == (2, 2)
        made.come("c")
        assert (made.queue.running, made.queue.waiting) == (3, 2)
        with pytest.raises(Overloaded, match="2 calls wait already"):
            made.queue.place("c", life()).__enter__()


def test_a_full_queue_says_when_to_come_again() -> None:
    """By what calls took of late: 4 s each, of which two run at a time."""
    clock, refused = [0.0], list[None]()
    queue = Queue(Room(2, 2, 3, 2), 60.0, refused=lambda: refused.append(None), clock=lambda: clock[0])
    with queue.place("first", life()):
        clock[0] += 4.0
    with callers(queue) as made:
        made.come("a", 4)
        with pytest.raises(Overloaded, match="2 calls of this client wait already") as failure:
            queue.place("a", life()).__enter__()
        assert failure.value.retry_after == pytest.approx(6.0)
        made.come("b")
        with pytest.raises(Overloaded, match="3 calls wait already") as failure:
            queue.place("c", life()).__enter__()
        assert failure.value.retry_after == pytest.approx(8.0)
    assert len(refused) == 2


@pytest.mark.parametrize(
    ("wait", "deadline", "left", "kind"),
    [
        (0.05, 60.0, False, Overloaded),
        (60.0, 0.05, False, DeadlineExceeded),
        (60.0, 60.0, True, PeerLost),
    ],
)
def test_a_wait_that_ends_leaves_nothing_behind(
    wait: float, deadline: float, left: bool, kind: type[PrivinfError]
) -> None:
    queue = Queue(Room(1, 1, 4, 4), wait)
    with queue.place("a", life()):
        waiting = life(deadline)
        if left:
            waiting.end(PeerLost("the client left"))
        with pytest.raises(kind):
            queue.place("b", waiting).__enter__()
        assert (queue.running, queue.waiting) == (1, 0)
    with queue.place("b", life()):
        assert queue.running == 1


def test_a_party_that_stops_sends_those_away_who_wait() -> None:
    queue = Queue(Room(1, 1, 4, 4), 60.0)
    waiting, told = life(), list[PrivinfError]()

    def wait() -> None:
        try:
            queue.place("b", waiting).__enter__()
        except PrivinfError as error:
            told.append(error)

    with queue.place("a", life()):
        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: queue.waiting == 1)
        queue.close()
        thread.join(10)
        assert isinstance(told[0], Overloaded)
        assert told[0].retry_after is not None
        with pytest.raises(Overloaded, match="stopping"):
            queue.place("c", life()).__enter__()
    assert (queue.running, queue.waiting) == (0, 0)


def test_waits_are_measured() -> None:
    clock, waits = [0.0], list[float]()
    queue = Queue(Room(1, 1, 4, 4), 60.0, waits.append, clock=lambda: clock[0])
    with callers(queue) as made:
        made.come("a", 2)
        clock[0] = 3.0
        made.leave()
    assert waits == [0.0, 3.0]


def test_party_1_lets_as_many_wait_as_party_0_admits_and_keeps_waiting() -> None:
    parked = Parked(Room(2, 1, 3, 2), lambda: 1)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(parked.place("a", life()))
        with pytest.raises(Overloaded, match="of this client"):
            parked.place("a", life()).__enter__()
        held.enter_context(parked.place("b", life()))
        assert parked.waiting == 3
