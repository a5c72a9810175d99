"""A preparation as it arrives: the program prepares behind the bytes, and neither waits for what will not come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dummy import Settings
from harness import Cluster, ask, wait_until
from preparations import BODY, SEED, copied, opened, receive, record, stream

from privinf.errors import DamagedPreparation, DeadlineExceeded, PeerLost, ProtocolError
from privinf.parties.stock import fetch
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import Source

MEMORY = 1 << 20


@pytest.fixture(params=[0, MEMORY], ids=["disk", "memory"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[PreparationStore]:
    """Return an empty store."""
    made = opened(tmp_path, in_memory=request.param)
    yield made
    assert (made.usage(), list(tmp_path.rglob("*.prep*"))) == (0, [])
    made.close()


def test_the_program_reads_what_has_come_before_the_rest_is_sent(store: PreparationStore) -> None:
    seen: list[bytes] = []
    read = threading.Event()

    def messages() -> Iterator[bytes]:
        yield SEED
        yield BODY[:10]
        assert read.wait(30)
        yield BODY[10:]

    def prepare(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        seen.append(bytes(prep.read(7)))
        read.set()
        seen.append(bytes(prep.read(len(BODY) - 7)))  # part of it is still to come
        precomputed[:] = bytes(40)

    kept = receive(store, record(1, precomputed=40), messages(), prepare)
    assert b"".join(seen) == BODY
    store.burn([kept.preparation_id])


@pytest.mark.parametrize("way", ["ends", "breaks", "is late", "is changed", "is too long"])
def test_a_stream_that_fails_ends_the_program_that_waits_for_it(store: PreparationStore, way: str) -> None:
    ended: list[BaseException | None] = []

    def messages() -> Iterator[bytes]:
        yield SEED
        yield BODY[:10]
        if way == "breaks":
            raise PeerLost("cut")
        if way == "is late":
            raise DeadlineExceeded("late", phase="offline")
        if way == "is changed":
            yield bytes(len(BODY) - 10)
            yield bytes(32)
        if way == "is too long":
            yield BODY

    def prepare(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        try:
            prep.read(len(BODY))
            ended.append(None)
        except PeerLost as error:
            ended.append(error)
            raise

    wanted = {"breaks": PeerLost, "is late": DeadlineExceeded, "is changed": DamagedPreparation}
    coming = record(1, precomputed=40)
    with store.place(coming.sizes) as place, pytest.raises(wanted.get(way, ProtocolError)) as failure:
        store.receive(place, coming, messages(), prepare)
    assert "before its program" not in str(failure.value)
    assert [type(error) for error in ended] == [type(None) if way == "is changed" else PeerLost]
    assert store.held() == []


def test_a_program_that_fails_ends_the_stream_at_its_next_message(store: PreparationStore) -> None:
    failed, asked = threading.Event(), list[int]()

    def messages() -> Iterator[bytes]:
        yield SEED
        yield BODY[:10]
        assert failed.wait(30)
        for index in range(10, len(BODY)):
            asked.append(index)
            yield BODY[index : index + 1]

    def prepare(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        try:
            raise ValueError("in the program")
        finally:
            failed.set()

    with pytest.raises(ValueError, match="in the program"):
        receive(store, record(1, precomputed=40), messages(), prepare)
    assert len(asked) < 400  # it was told as soon as the thread had ended


@pytest.mark.parametrize("nbytes", [-1, len(BODY) + 1])
def test_a_program_that_reads_what_there_is_not_is_refused(store: PreparationStore, nbytes: int) -> None:
    def prepare(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        prep.read(nbytes)

    with pytest.raises(ProtocolError, match="where the preparation has"):
        receive(store, record(1, precomputed=40), stream(SEED, BODY), prepare)


def test_all_that_is_kept_is_the_same_wherever_it_lies(store: PreparationStore) -> None:
    kept = receive(store, record(1, precomputed=40), stream(SEED, *[bytes([each]) for each in BODY]), copied)
    preparation = store.claim(kept.preparation_id, kept.shape)
    assert preparation.read(len(BODY)) == BODY
    assert preparation.precomputed == SEED + BODY[-8:]
    preparation.close()


@pytest.mark.parametrize("in_memory", [False, True], ids=["disk", "memory"])
@pytest.mark.parametrize("party", [0, 1])
def test_a_stream_cut_in_mid_delivery_leaves_nothing_anywhere(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool, party: int
) -> None:
    left, messages = [party + 1], fetch._messages  # the first or the second of the two that fetch

    def cut(call: Any) -> Iterator[bytes]:
        left[0] -= 1
        mine = left[0] == 0
        for index, message in enumerate(messages(call)):
            if index == 2 and mine:
                call.cancel()
            yield message

    monkeypatch.setattr(fetch, "_messages", cut)
    settings = Settings(extra=(3 << 20) - 1)
    with Cluster(tmp_path, keys, settings, in_memory=in_memory) as cluster, cluster.link() as link:
        with pytest.raises((PeerLost, ProtocolError, grpc.RpcError)):
            ask(link)
        wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])
        wait_until(lambda: cluster.servers["dealer"].calls.jobs.count == 0)  # type: ignore[union-attr]
        assert list(tmp_path.rglob("*.prep*")) == []
        ask(link)
