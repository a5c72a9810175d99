"""The queue of party 0: bounded, fair between clients, and honest about when to come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from harness import wait_until

from privinf.errors import DeadlineExceeded, Overloaded, PeerLost, PrivinfError
from privinf.parties.rpc.admission import Parked, Queue, Room
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.seats import Seats


def life(seconds: float = 60.0) -> Life:
    """A call's life."""
    return Life(Deadline.after(seconds))


class Callers:
    """Threads that wait for a place, hold it until told, and note in which order they had it."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.order, self.refused = queue, list[str](), list[str]()
        self._leave = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def come(self, client: str, times: int = 1) -> None:
        """Have so many calls of a client wait, one behind the other."""
        for _ in range(times):
            before = self.queue.running + self.queue.waiting
            self._start(client)
            wait_until(lambda before=before: self.queue.running + self.queue.waiting == before + 1)  # type: ignore[misc]

    def crowd_out(self, client: str) -> None:
        """Have a client's call wait in the place of another's, which hears so."""
        before = len(self.refused)
        self._start(client)
        wait_until(lambda: len(self.refused) == before + 1)

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

    def _start(self, client: str) -> None:
        self._threads.append(threading.Thread(target=self._call, args=(client,), daemon=True))
        self._threads[-1].start()

    def _call(self, client: str) -> None:
        try:
            with self.queue.place(client, life()):
                self.order.append(client)
                self._leave.acquire()
        except Overloaded as error:
            self.refused.append(client if error.retry_after else "without a hint")


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
        made.crowd_out("d")
        with pytest.raises(Overloaded, match="3 calls wait already") as failure:
            queue.place("c", life()).__enter__()
        assert failure.value.retry_after == pytest.approx(8.0)
    assert len(refused) == 3


def test_two_clients_that_fill_the_queue_make_room_for_others_until_all_have_as_much() -> None:
    with callers(Queue(Room(2, 1, 8, 4), 60.0)) as made:
        made.come("a", 5)
        made.come("b", 5)
        assert (made.queue.running, made.queue.waiting) == (2, 8)
        for client in ("c", "c", "d", "e", "f"):
            made.crowd_out(client)
        assert sorted(made.refused) == ["a", "a", "a", "b", "b"] or sorted(made.refused) == [
            "a",
            "a",
            "b",
            "b",
            "b",
        ]
        made.crowd_out("g")  # from whoever has two
        for client in "acg":
            with pytest.raises(Overloaded, match="8 calls wait already"):
                made.queue.place(client, life()).__enter__()
        assert made.queue.waiting == 8
        for _ in range(8):
            made.leave()
    assert set(made.order) == set("abcdefg")


def test_who_has_a_place_never_loses_it_to_another() -> None:
    seats, lives = Seats(3, 3, "calls"), [life() for _ in range(3)]
    with ExitStack() as held:
        for one in lives:
            one.spare()
            held.enter_context(seats.place("a", one))
        lives[1].keep()
        lives[2].keep()
        held.enter_context(seats.place("b", life()))
        assert [one.error is not None for one in lives] == [True, False, False]
        with pytest.raises(Overloaded, match="3 calls are under way"):
            seats.place("c", life()).__enter__()
        with pytest.raises(Overloaded, match="others have less"):
            lives[0].keep()
        assert seats.taken == 3
    assert seats.taken == 0


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
