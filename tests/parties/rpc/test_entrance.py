"""Messages in pieces: none is read before its caller has a place, and all of one comes in time or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from privinf.errors import DeadlineExceeded, PeerLost, ProtocolError
from privinf.parties.rpc import incoming
from privinf.parties.rpc.admission import Queue, Room
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.guard import Entrance
from privinf.parties.rpc.incoming import Read, Requests, Source
from privinf.parties.rpc.life import Bounds, Life
from privinf.parties.rpc.methods import CLIENT, Method
from privinf.parties.rpc.parts import cut

METHOD = Method("test.Service", "Take", None, None, CLIENT, parts=(True, True))


LIVES: list[Life] = []


@pytest.fixture(autouse=True)
def over() -> Iterator[None]:
    """Every call is over in the end, as a server sees to, and its reader with it."""
    yield
    while LIVES:
        LIVES.pop().end(PeerLost("the call is over"))


def life() -> Life:
    LIVES.append(Life(Deadline.after(60)))
    return LIVES[-1]


def requests(source: Source, own: Life, limit: int = 8 * CHUNK, due: float = 20.0) -> Requests[bytes]:
    return Requests(source, METHOD, own, Bounds(60.0, 60.0, due, 60.0, 60.0), "somebody", iter(()), limit)


def test_a_message_waits_outside_until_its_caller_has_a_place() -> None:
    taken, whole, own = list[int](), bytes(range(256)) * (3 * CHUNK // 256), life()

    def pieces() -> Iterator[bytes]:
        for piece in cut(whole):
            taken.append(len(piece))
            yield piece

    queue, got = Queue(Room(1, 1, 4, 4), 60), list[bytes]()
    asked = requests(Read(pieces(), own, ahead=0), own)
    entrance = Entrance(8 * CHUNK, queue)

    def answer() -> None:
        with entrance.place(asked):
            got.append(asked.only())

    thread = threading.Thread(target=answer)
    with queue.place("another", life()):
        thread.start()
        while not queue.waiting:
            time.sleep(0.001)
        assert len(taken) == 1
    thread.join()
    assert got == [whole]
    assert len(taken) == 3


def test_who_says_nothing_takes_no_place() -> None:
    over, own = threading.Event(), life()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield from ()

    queue = Queue(Room(1, 1, 4, 4), 60)
    asked = requests(Read(nothing(), own, ahead=0), own, due=0.01)
    with pytest.raises(DeadlineExceeded), Entrance(CHUNK, queue).place(asked):
        raise AssertionError("it has a place")
    assert queue.running == queue.waiting == 0
    over.set()


def test_a_first_piece_over_the_limit_takes_no_place() -> None:
    own, queue = life(), Queue(Room(1, 1, 4, 4), 60)
    asked = requests(Read(cut(bytes(101)), own, ahead=0), own, limit=100)
    with pytest.raises(ProtocolError, match="size limit of 100 bytes"), Entrance(100, queue).place(asked):
        raise AssertionError("it has a place")


def test_all_of_a_message_comes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that each come just in time do not make a message that takes for ever."""
    now, due, pieces = [0.0], 10.0, list[float]()
    monkeypatch.setattr(incoming.time, "monotonic", lambda: now[0])

    class Slow:
        def take(self, seconds: float, late: str) -> bytes:
            if seconds < 9.0:
                raise DeadlineExceeded(late)
            now[0] += 9.0
            pieces.append(now[0])
            return b"\x00" + bytes(CHUNK)

        def peek(self, seconds: float, late: str) -> None: ...
        def due(self) -> bool: ...  # type: ignore[empty-body]
        def some(self) -> bool: ...  # type: ignore[empty-body]

    with pytest.raises(DeadlineExceeded, match="all of a message did not come within 40 s"):
        requests(Slow(), life(), limit=1000 * CHUNK, due=due).only()
    assert len(pieces) == 5
