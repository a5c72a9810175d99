"""What a party reads of a pass while it evaluates it: in order, bounded, and woken by what fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from privinf.errors import PeerLost, ProtocolError
from privinf.models.programs import intake
from privinf.models.programs.intake import Intake, Stage
from privinf.protocols.contract import Order, Source
from privinf.protocols.masked.ahead import Kept

SEED = bytes(range(32))
PIECES = [bytes([at]) * (10 + at % 7) for at in range(200)]


class Pieces:
    """A dealer's stream of whole pieces; `at` tells how far it was read."""

    def __init__(self, before: Callable[[int], None] = lambda at: None) -> None:
        self.at, self._before = 0, before

    def read(self, nbytes: int) -> memoryview:
        self._before(self.at)
        piece, self.at = PIECES[self.at], self.at + 1
        assert len(piece) == nbytes
        return memoryview(piece)


def reads(prep: Source, kept: Kept) -> None:
    """Reads everything, and keeps a number with every tenth piece."""
    for at, piece in enumerate(PIECES):
        prep.read(len(piece))
        if at % 10 == 0:
            kept.put(np.full((2, 2), at, dtype=np.uint64))


def coming(stage: Stage) -> Intake:
    return Intake(Order(0), b"id", SEED, reads, stage)


def test_what_comes_is_evaluated_as_it_comes() -> None:
    """The dealer sends a piece only once those before it were used."""
    stage = Stage()
    made, used = coming(stage), threading.Semaphore(0)

    def evaluate() -> Iterator[bytes]:
        stage.begin()
        for at, piece in enumerate(PIECES):
            yield bytes(made.tape.read(len(piece)))
            if at % 10 == 0:
                np.testing.assert_array_equal(made.notes.next((4,)), np.full(4, at))
            used.release()
        made.close()
        stage.end()

    with ThreadPoolExecutor(1) as pool:
        source = Pieces(lambda at: at == 0 or used.acquire(timeout=60) or pytest.fail("not used"))
        filled = pool.submit(made.fill, source, 1 << 20)
        assert list(evaluate()) == PIECES
        filled.result(60)
    assert made.waited > 0


def test_pieces_may_be_read_in_other_sizes() -> None:
    made = coming(Stage())
    made.fill(Pieces(), 1)
    whole = b"".join(PIECES)
    got = [bytes(made.tape.read(size)) for size in (1, 0, 30, 500, 3)]
    assert b"".join(got) == whole[:534]
    assert made.tape.left == len(whole) - 534
    with pytest.raises(ProtocolError, match=f"{len(whole) - 534} bytes of the preparation were not used"):
        made.close()


def test_while_a_pass_is_evaluated_no_more_than_the_limit_lies_unused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "PATIENCE", 600.0)
    stage, source = Stage(), Pieces()
    made, most = coming(stage), 300
    stage.begin()
    with ThreadPoolExecutor(1) as pool:
        filled = pool.submit(made.fill, source, most)
        for at, piece in enumerate(PIECES):
            assert bytes(made.tape.read(len(piece))) == piece
            came = sum(map(len, PIECES[: source.at])) - sum(map(len, PIECES[: at + 1]))
            assert came <= most + max(map(len, PIECES))
            if at % 10 == 0:
                made.notes.next((2, 2))
        filled.result(60)
    made.close()


def test_without_an_evaluation_all_is_let_in() -> None:
    made = coming(Stage())
    made.fill(Pieces(), 1)
    assert made.tape.left == sum(map(len, PIECES))


def test_a_reader_that_nothing_is_used_of_goes_on_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PATIENCE", 0.001)
    stage = Stage()
    stage.begin()
    made = coming(stage)
    made.fill(Pieces(), 1)
    assert made.tape.left == sum(map(len, PIECES))


@pytest.mark.parametrize("what", ["tape", "notes", "end"])
def test_a_failure_wakes_an_evaluation(what: str) -> None:
    made = coming(Stage())
    wait: Callable[[], object] = {
        "tape": lambda: made.tape.read(1),
        "notes": lambda: made.notes.next((1,)),
        "end": made.close,
    }[what]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        made.fail(PeerLost("dealer left"))
        made.fail(PeerLost("somebody else"))
        with pytest.raises(PeerLost, match="dealer left"):
            waiting.result(60)


def test_its_seed_is_not_shown() -> None:
    shown = repr(coming(Stage()))
    assert "Order" in shown
    assert repr(SEED) not in shown
