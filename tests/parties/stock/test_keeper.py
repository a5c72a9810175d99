"""The keeper without servers: it is told to look again when there is room, not before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from dummy import IDENTITY
from harness import SHAPE

from privinf.config import PartyConfig
from privinf.errors import ConnectError
from privinf.parties.dealing.delivery import stated
from privinf.parties.logs import Log
from privinf.parties.rpc.credentials import dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life
from privinf.parties.stock.fetch import DealerLink
from privinf.parties.stock.keeper import Keeper
from privinf.parties.stock.record import Record, file_bytes
from privinf.parties.stock.room import Limits
from privinf.parties.stock.store import Place, PreparationStore
from privinf.protocols.contract import QueryShape, StockSizes

NBYTES = 100
SIZES = StockSizes(NBYTES)
ROOM = file_bytes(SIZES)  # of a preparation, and of the whole store
ID = bytes(16)


class Noted(threading.Condition):
    """Notes at each notification whether there is room: whoever looks then is not told again."""

    def __init__(self, room: Callable[[], bool]) -> None:
        super().__init__()
        self._room = room
        self.seen: list[bool] = []

    def notify_all(self) -> None:
        self.seen.append(self._room())
        super().notify_all()


class LostDealer:
    """Draws a preparation, then breaks off, before or while it is fetched."""

    def __init__(self, store: PreparationStore, lost_at: str) -> None:
        self._store, self._lost_at = store, lost_at

    def room(self, shape: QueryShape) -> int:
        return ROOM

    @contextmanager
    def order(self, shape: QueryShape, epoch: bytes, life: Life) -> Iterator[tuple[Place, Record]]:
        with self._store.place(SIZES) as place:
            self._reach("create")
            yield place, Record(ID, SHAPE, IDENTITY, SIZES, epoch=epoch)

    def fetch(self, *_: Any) -> Record:
        self._reach("fetch")
        raise AssertionError

    def _reach(self, step: str) -> None:
        if step == self._lost_at:
            raise ConnectError(f"dealer lost at {step}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreparationStore]:
    """Return a store for one preparation."""
    with closing(PreparationStore(tmp_path / "store", IDENTITY, Limits(ROOM, 8))) as made:
        yield made


def keeping(store: PreparationStore, tmp_path: Path, lost_at: str = "") -> tuple[Keeper, Noted]:
    """Return a keeper that was not started, and what it notes."""
    config = PartyConfig(
        party=0,
        peer="127.0.0.1:1",
        dealer="127.0.0.1:1",
        store=tmp_path / "store",
        insecure_no_tls=True,
        ahead=1,
        shapes=(SHAPE,),
    )
    other = dial(config.peer[0], "party1", None, "party0")
    dealer = cast(DealerLink, LostDealer(store, lost_at))
    keeper = Keeper(config, store, dealer, other, Log("party0"))
    keeper._changed = noted = Noted(lambda: store.fits(ROOM))
    return keeper, noted


@pytest.mark.parametrize("lost_at", ["create", "fetch"])
def test_a_preparation_that_fails_on_demand_gives_its_room_back_before_the_keeper_looks(
    store: PreparationStore, tmp_path: Path, lost_at: str
) -> None:
    keeper, noted = keeping(store, tmp_path, lost_at)
    with pytest.raises(ConnectError, match=lost_at):
        keeper.obtain(SHAPE, Life(Deadline.after(5)))
    assert noted.seen[-1:] == [True]


def stored(store: PreparationStore) -> None:
    """Have the store hold one preparation."""
    with store.place(SIZES) as place:
        record = Record(ID, SHAPE, IDENTITY, SIZES)
        store.receive(place, record, stated(iter([bytes(32), bytes(NBYTES)])), lambda *_: None)


def test_what_a_query_has_is_not_burnt_when_party_1_has_claimed_it_already(
    store: PreparationStore, tmp_path: Path
) -> None:
    """Party 1 was asked while it lay ready here, and answers after a query was given it and party 1 has opened it."""
    stored(store)
    keeper, _ = keeping(store, tmp_path)
    keeper._settle(set(), set())  # party 1 holds it too
    assert keeper.obtain(SHAPE, Life(Deadline.after(5))) == ID
    keeper._settle({ID}, set())
    store.claim(ID, SHAPE).close()


def test_what_party_1_lacks_is_burnt(store: PreparationStore, tmp_path: Path) -> None:
    stored(store)
    keeper, _ = keeping(store, tmp_path)
    keeper._settle({ID}, set())
    assert not store.held()


def test_the_keeper_goes_on_after_whatever_goes_wrong(
    store: PreparationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, _ = keeping(store, tmp_path)
    tried = threading.Event()
    errors: list[Exception] = [MemoryError(), RuntimeError(), AssertionError()]

    def step() -> None:
        if errors:
            raise errors.pop()
        tried.set()
        keeper._stopped.wait()

    monkeypatch.setattr(keeper, "_step", step)
    keeper.start()
    assert tried.wait(30)
    keeper.stop()


def test_a_stored_preparation_is_burnt_before_the_keeper_looks(
    store: PreparationStore, tmp_path: Path
) -> None:
    stored(store)
    keeper, noted = keeping(store, tmp_path)
    assert not store.fits(ROOM)
    keeper.discard(ID)
    assert noted.seen[-1:] == [True]
