"""Generation at the dealer: once, bounded, exact, and ended when a party does not come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from dummy import DummyDealer, Settings

from privinf.config import DealerConfig
from privinf.errors import DeadlineExceeded, Overloaded, PartyError, PeerLost, ProtocolError
from privinf.parties.dealing.jobs import Job, Jobs
from privinf.parties.dealing.pipes import Packer, Pipe, pack
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.stock.digest import Tally
from privinf.protocols.contract import Buffer, QueryShape

SHAPE = QueryShape("echo", 1, 8)
CONFIG = DealerConfig(insecure_no_tls=True, max_jobs=2, queue_chunks=2, stall_seconds=20, come_seconds=20)
ORDER = bytes(range(16))


def jobs(settings: Settings, config: DealerConfig = CONFIG) -> tuple[Jobs, list[BaseException]]:
    """Return a dealer's jobs and the failures that it reports."""
    reported: list[BaseException] = []
    return Jobs(DummyDealer(settings), config, reported.append), reported


def drained(job: Job) -> tuple[list[bytes], list[bytes]]:
    """Take both streams, each as it comes, as two parties do."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(list, (job.take(0), job.take(1)))
    return first, second


def test_both_parties_are_dealt_one_generation() -> None:
    settings = Settings(rounds=2, round_bytes=CHUNK, extra=CHUNK + 7)
    made, reported = jobs(settings)
    first, second = drained(made.create(SHAPE, os.urandom(16)))
    assert first[0] != second[0]
    assert {len(first[0]), len(second[0])} == {32}
    for half in (first, second):
        tally = Tally(half[0])
        tally.update(b"".join(half[1:-1]))
        assert half[-1] == tally.digest()
    assert b"".join(first[1:-1]) == b"".join(second[1:-1])
    assert [len(chunk) for chunk in first[1:]] == [CHUNK, CHUNK, CHUNK, 7, 32]
    assert not reported


@pytest.mark.parametrize("surplus", [-1, 1, CHUNK])
def test_a_program_must_deal_what_it_says(surplus: int) -> None:
    made, _ = jobs(Settings(deal_too_many=surplus))
    with pytest.raises(ProtocolError, match="than its sizes say"):
        drained(made.create(SHAPE, os.urandom(16)))


def test_a_program_that_fails_tells_the_parties_its_kind_alone() -> None:
    class Failing(DummyDealer):
        def deal(
            self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, bytes]
        ) -> Iterator[tuple[int, Buffer]]:
            yield 0, b"x"
            raise ValueError("a secret value")

    reported: list[BaseException] = []
    made = Jobs(Failing(), CONFIG, reported.append)
    with pytest.raises(PartyError, match="ValueError") as failure:
        drained(made.create(SHAPE, os.urandom(16)))
    assert "secret" not in str(failure.value)
    assert isinstance(reported[0], ValueError)


@pytest.mark.parametrize("party", [0, 1])
def test_a_party_that_does_not_come_ends_the_job_for_the_other(party: int) -> None:
    """Also where all of it would fit into the pipes."""
    made, _ = jobs(Settings(), replace(CONFIG, come_seconds=0.2))
    job = made.create(SHAPE, ORDER)
    with pytest.raises(PeerLost, match=f"party{1 - party} did not come") as failure:
        list(job.take(party))
    assert failure.value.party == f"party{1 - party}"
    assert made.count == 0


@pytest.mark.parametrize("extra", [0, 8 * CHUNK])
def test_a_party_that_stops_reading_ends_the_job(extra: int) -> None:
    """Also where all of it fits into the pipes."""
    made, _ = jobs(Settings(extra=extra), replace(CONFIG, stall_seconds=0.5))
    job = made.create(SHAPE, ORDER)
    first, second = iter(job.take(0)), iter(job.take(1))
    next(second)
    for messages in (first, second):
        with pytest.raises(DeadlineExceeded, match="does not fetch"):
            list(messages)


def test_an_order_names_one_job_however_often_it_is_asked_for() -> None:
    made, _ = jobs(Settings())
    job = made.create(SHAPE, ORDER)
    assert made.create(SHAPE, ORDER) is job
    assert made.create(SHAPE, os.urandom(16)) is not job
    assert made.count == 2


@pytest.mark.parametrize("name", ["id", "order"])
def test_what_is_dropped_ends_at_once_for_whoever_waits(name: str) -> None:
    made, _ = jobs(Settings())
    job = made.create(SHAPE, ORDER)
    waiting = job.take(1)
    made.drop({"id": job.preparation_id, "order": ORDER}[name], PeerLost("party0 gave it up"))
    with pytest.raises(PeerLost, match="gave it up"):
        list(waiting)
    assert made.count == 0
    made.drop(job.preparation_id, PeerLost("said again"))


def test_one_more_job_waits_for_a_place() -> None:
    made, _ = jobs(Settings(), replace(CONFIG, max_jobs=1))
    job = made.create(SHAPE, ORDER)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(made.create, SHAPE, os.urandom(16))
        made.forget(job, PeerLost("gone"))
        assert waiting.result(10) is not job
    assert made.count == 1


def test_a_party_fetches_once() -> None:
    made, _ = jobs(Settings())
    job = made.create(SHAPE, os.urandom(16))
    drained(job)
    for party in (0, 1):
        with pytest.raises(ProtocolError, match="already fetched"):
            job.take(party)
    assert not job.deliver(0)
    assert job.deliver(1)
    made.forget(job)
    with pytest.raises(ProtocolError, match="unknown"):
        made.find(job.preparation_id)


def test_a_party_that_leaves_ends_the_stream_of_the_other() -> None:
    made, _ = jobs(Settings(rounds=8, round_bytes=CHUNK))
    job = made.create(SHAPE, os.urandom(16))
    ours = iter(job.take(0))
    job.take(1)
    next(ours)
    assert job.lost(1)
    made.forget(job, PeerLost("party1 stopped fetching"))
    with pytest.raises(PeerLost):
        list(ours)


def test_jobs_expire() -> None:
    made, _ = jobs(Settings(), replace(CONFIG, come_seconds=0.05))
    job = made.create(SHAPE, ORDER)
    with pytest.raises(ProtocolError, match="unknown"):
        _until_gone(made, job)


def test_jobs_are_bounded() -> None:
    made, _ = jobs(Settings(), replace(CONFIG, come_seconds=1))
    kept = [made.create(SHAPE, os.urandom(16)) for _ in range(2)]
    for each in kept:
        for party in (0, 1):
            each.take(party)  # both have come: these do not expire
    with pytest.raises(Overloaded, match="already preparing 2"):
        made.create(SHAPE, ORDER)
    assert made.count == 2


def _until_gone(made: Jobs, job: Job) -> None:
    while True:
        made.find(job.preparation_id)


def test_a_buffer_may_be_reused_once_it_is_packed() -> None:
    chunks: list[bytes] = []
    packer, buffer = Packer(chunks.append, 2 * CHUNK + 20), bytearray(b"0123456789")
    pack([packer], buffer)
    buffer[:] = b"abcdefghij"
    pack([packer], buffer)
    large = bytearray(2 * CHUNK)
    pack([packer], large)
    large[:] = b"x" * len(large)
    packer.finish()
    assert b"".join(chunks) == b"0123456789abcdefghij" + bytes(2 * CHUNK)
    assert [len(chunk) for chunk in chunks] == [20, CHUNK, CHUNK]


def test_what_both_get_is_copied_once_and_stays_in_order() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    total = CHUNK + 6
    packers = [Packer(first.append, total), Packer(second.append, total + 2)]
    pack(packers, b"abc")
    pack(packers[1:], b"de")
    pack(packers, bytes(CHUNK) + b"fgh")
    for packer in packers:
        packer.finish()
    assert first == [b"abc", bytes(CHUNK), b"fgh"]
    assert second == [b"abcde", bytes(CHUNK), b"fgh"]
    assert first[1] is second[1]


def test_small_buffers_share_messages_of_bounded_size() -> None:
    chunks: list[bytes] = []
    piece = bytes(CHUNK // 5)
    packer = Packer(chunks.append, 12 * len(piece))
    for _ in range(12):
        pack([packer], piece)
    packer.finish()
    assert [len(chunk) // len(piece) for chunk in chunks] == [5, 5, 2]


def test_a_pipe_holds_a_bounded_number_of_bytes() -> None:
    pipe = Pipe(10, stall_seconds=0.05)
    for chunk in (b"123456789", b"large" * 5):
        pipe.put(chunk)
    with pytest.raises(DeadlineExceeded, match="does not fetch"):
        pipe.put(b"x")
    messages = iter(pipe)
    assert next(messages) == b"123456789"
    with pytest.raises(DeadlineExceeded):
        pipe.put(b"x")
    assert next(messages) == b"large" * 5
    pipe.put(b"x")
