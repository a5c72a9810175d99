"""Preparations that lie in memory alone: used once and checked as those on disk, and gone with their process."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dummy import Settings
from harness import SHAPE as ASKED
from harness import Cluster, ask, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from preparations import BODY, SEED, SHAPE, copied, opened, receive, record, stream

from privinf.errors import DamagedPreparation, MismatchError, Overloaded, ProtocolError
from privinf.parties.metrics import Meters
from privinf.parties.stock.mapped import BLOCK
from privinf.parties.stock.record import file_bytes
from privinf.parties.stock.room import InMemory, Limits
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import Source, StockSizes

ROOM = file_bytes(StockSizes(len(BODY), 40))  # of such a preparation
AHEAD: dict[str, dict[str, Any]] = {"party0": {"ahead": 2, "shapes": (ASKED,)}}
FIRST, SECOND = bytes([1]) * 16, bytes([2]) * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreparationStore]:
    """Return a store with preparation 1, in memory."""
    made = opened(tmp_path, in_memory=4 * ROOM)
    receive(made, record(1, precomputed=40), stream(SEED, BODY[:123], BODY[123:]), copied)
    yield made
    made.close()


def files(folder: Path) -> list[Path]:
    """Return what a store has on disk of preparations."""
    return list(folder.rglob("*.prep*"))


def pages(store: PreparationStore, preparation_id: bytes) -> mmap.mmap:
    """Return the memory of a preparation."""
    room = store._taken[preparation_id].room
    assert isinstance(room, InMemory)
    return room.whole


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_it_is_read_once_and_never_on_a_disk(store: PreparationStore, tmp_path: Path) -> None:
    assert (store.usage(), store.usage(in_memory=True)) == (ROOM, ROOM)
    preparation = store.claim(FIRST, SHAPE)
    assert preparation.precomputed == SEED + BODY[-8:]
    assert preparation.precomputed.readonly
    view = preparation.read(len(BODY))
    assert view == BODY
    assert view.readonly
    with pytest.raises(ProtocolError, match="reads 1 bytes where the preparation has 0"):
        preparation.read(1)
    assert store.usage(in_memory=True) == ROOM
    assert files(tmp_path) == []
    preparation.close()
    assert not any(view)  # erased, and no fault, though it is still looked at
    assert (store.usage(), store.usage(in_memory=True)) == (0, 0)
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(FIRST, SHAPE)
    with pytest.raises(ProtocolError, match="already spent"):
        receive(store, record(1), stream(SEED, BODY))


def test_a_claim_waits_for_no_disk_and_a_later_process_knows_it(
    store: PreparationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, record(2), stream(SEED, BODY))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        store.claim(FIRST, SHAPE).close()
        store.burn([SECOND])
    assert (tmp_path / "store" / "spent.log").read_text() == "01" * 16 + "\n" + "02" * 16 + "\n"
    assert store.usage() == 0
    os.close(store._lockfile)  # as the system does when a process is killed
    again = opened(tmp_path, in_memory=4 * ROOM)
    for number in (1, 2):
        with pytest.raises(ProtocolError, match="already spent"):
            receive(again, record(number), stream(SEED, BODY))
    again.close()
    store._lockfile = os.open(tmp_path, os.O_RDONLY)


def test_what_was_never_claimed_is_gone_with_its_process(store: PreparationStore, tmp_path: Path) -> None:
    store.close()
    again = opened(tmp_path)
    assert (again.held(), again.usage()) == ([], 0)
    with pytest.raises(MismatchError, match="not held here"):
        again.claim(FIRST, SHAPE)
    store.__init__(tmp_path / "other", again._identity, Limits(1, 1))  # type: ignore[misc]
    again.close()


def test_memory_is_bounded_and_what_it_has_no_room_for_lies_on_disk(tmp_path: Path) -> None:
    limits = Limits(1 << 20, 8, in_memory=2 * ROOM, in_memory_each=ROOM)
    made = PreparationStore(tmp_path / "store", record(1).identity, limits)
    receive(made, record(9, 2 * BLOCK), stream(SEED, bytes(2 * BLOCK)))  # too large, though there is room
    assert (len(files(tmp_path)), made.usage(in_memory=True)) == (1, 0)
    for number in (1, 2, 3):
        receive(made, record(number, precomputed=40), stream(SEED, BODY), copied)
    assert [path.stem for path in files(tmp_path) if path.stem != "09" * 16] == ["03" * 16]
    assert made.usage(in_memory=True) == 2 * ROOM
    made.claim(FIRST, SHAPE).close()
    receive(made, record(4, precomputed=40), stream(SEED, BODY), copied)
    assert (len(files(tmp_path)), made.usage(in_memory=True)) == (2, 2 * ROOM)
    made.close()


def test_all_limits_of_the_store_hold_for_memory_too(tmp_path: Path) -> None:
    made = opened(tmp_path, max_bytes=ROOM, in_memory=1 << 20)
    with made.place(StockSizes(len(BODY), 40)):
        assert made.usage(in_memory=True) == ROOM
        with pytest.raises(Overloaded, match="do not fit"), made.place(StockSizes(1)):
            raise AssertionError("there was room")
    assert made.usage() == 0
    made.close()


def test_where_the_system_has_no_memory_it_lies_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, mapped = opened(tmp_path, in_memory=1 << 20), mmap.mmap

    def none(descriptor: int, *given: Any, **named: Any) -> mmap.mmap:
        if descriptor < 0:
            raise OSError(errno.ENOMEM, "none")
        return mapped(descriptor, *given, **named)

    monkeypatch.setattr(mmap, "mmap", none)
    receive(made, record(1, precomputed=40), stream(SEED, BODY), copied)
    assert (len(files(tmp_path)), made.usage(in_memory=True)) == (1, 0)
    made.claim(FIRST, SHAPE).close()
    made.close()


def test_a_full_disk_hinders_no_preparation_in_memory_but_its_mark(
    store: PreparationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        receive(store, record(2), stream(SEED, BODY))
        patch.setattr(os, "write", full)
        with pytest.raises(Overloaded, match="disk"):
            store.claim(FIRST, SHAPE)
        with pytest.raises(Overloaded, match="disk"):
            store.burn([SECOND])
    assert (store.usage(), store.held()) == (0, [])
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(FIRST, SHAPE)
    with pytest.raises(MismatchError, match="given up"):
        store.claim(SECOND, SHAPE)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, len(BODY) + 39), bit=st.integers(0, 7))
def test_a_byte_that_was_changed_is_never_handed_out(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    made = opened(tmp_path_factory.mktemp("flipped"), in_memory=ROOM)
    receive(made, record(1, precomputed=40), stream(SEED, BODY), copied)
    memory = pages(made, FIRST)
    where = BLOCK + at if at < len(BODY) else 2 * BLOCK + at - len(BODY)
    memory[where] ^= 1 << bit
    with contextlib.closing(made.claim(FIRST, SHAPE)) as preparation, pytest.raises(DamagedPreparation):
        preparation.read(len(BODY)) if at < len(BODY) else preparation.precomputed
    assert made.usage() == 0
    made.close()


def test_what_is_given_up_while_it_comes_leaves_nothing(store: PreparationStore) -> None:
    def messages() -> Iterator[bytes]:
        yield SEED
        yield BODY[:10]
        store.burn([SECOND])
        yield BODY[10:]

    with pytest.raises(ProtocolError, match="given up while it came"):
        receive(store, record(2), messages())
    store.burn([FIRST])
    assert (store.usage(), store.usage(in_memory=True), store.held()) == (0, 0, [])


def test_what_a_failed_program_holds_on_to_is_erased(store: PreparationStore) -> None:
    held: list[memoryview] = []

    def failing(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        held.append(prep.read(len(BODY)))
        raise ValueError("in the program")

    with pytest.raises(ValueError, match="in the program"):
        receive(store, record(2, precomputed=40), stream(SEED, BODY), failing)
    assert not any(held[0])
    assert store.usage() == ROOM


def test_servers_answer_without_a_file_and_count_what_they_hold(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges: dict[str, Any] = {}
    monkeypatch.setattr(Meters, "watch", lambda _, **named: gauges.update(named))
    with Cluster(tmp_path, keys, options=AHEAD, in_memory=True) as cluster, cluster.link() as link:
        wait_until(lambda: all(status.ready.get(ASKED) == 2 for status in link.status()))
        assert gauges["memory_bytes"]() == gauges["store_bytes"]() == link.status()[0].store_bytes > 0
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: ask(link), range(6)))
        assert files(tmp_path) == []
        for program in cluster.programs.values():
            assert len(set(program.used)) == len(program.used) == 6
        spent = (tmp_path / "party0" / "spent.log").read_text().split()
        assert len(set(spent)) == len(spent) == 6


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("place", ["first byte", "last byte", "precomputed"])
def test_a_query_takes_another_than_one_that_was_changed(
    tmp_path: Path, keys: Path, party: int, place: str
) -> None:
    with Cluster(tmp_path, keys, options=AHEAD, in_memory=True) as cluster, cluster.link() as link:
        wait_until(lambda: all(status.ready.get(ASKED) == 2 for status in link.status()))
        held, end = cluster.party(party).calls._supply.store, Settings().prep_bytes()
        first = held.held()[0].preparation_id
        at = {"first byte": BLOCK, "last byte": BLOCK + end - 1, "precomputed": 2 * BLOCK + 3}[place]
        pages(held, first)[at] ^= 4
        ask(link)
        wait_until(lambda: all(status.ready.get(ASKED) == 2 for status in link.status()))
        assert first.hex() in (tmp_path / f"party{party}" / "spent.log").read_text()
        ask(link)


def test_a_restart_of_one_party_costs_preparations_and_no_query(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, options=AHEAD, in_memory=True) as cluster, cluster.link() as link:
        wait_until(lambda: all(status.ready.get(ASKED) == 2 for status in link.status()))
        cluster.stop("party1")
        cluster.start("party1")
        ask(link)
        wait_until(lambda: all(status.ready.get(ASKED) == 2 for status in link.status()))
        ask(link)
        assert files(tmp_path) == []
