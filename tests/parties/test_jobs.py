"""Generation at the dealer: once, bounded, exact, and ended when a party does not come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from dummy import DummyDealer, Settings

from privinf.config import DealerConfig
from privinf.errors import DeadlineExceeded, Overloaded, PartyError, PeerLost, ProtocolError
from privinf.parties.frames import CHUNK
from privinf.parties.jobs import Job, Jobs
from privinf.parties.pipes import Packer, Pipe, pack
from privinf.protocols.program import Buffer, QueryShape

SHAPE = QueryShape("echo", 1, 8)
CONFIG = DealerConfig(insecure_no_tls=True, max_jobs=2, queue_chunks=2, stall_seconds=0.2)


def jobs(settings: Settings, config: DealerConfig = CONFIG) -> tuple[Jobs, list[BaseException]]:
    """Return a dealer's jobs and the failures that it reports."""
    reported: list[BaseException] = []
    return Jobs(DummyDealer(settings), config, reported.append), reported


def drained(job: Job) -> tuple[list[bytes], list[bytes]]:
    """Take both streams at the same pace, as two parties do."""
    pairs = list(zip(job.take(0), job.take(1), strict=True))
    return [first for first, _ in pairs], [second for _, second in pairs]


def test_both_parties_are_dealt_one_generation() -> None:
    settings = Settings(rounds=2, round_bytes=CHUNK, extra=CHUNK + 7)
    made, reported = jobs(settings)
    first, second = drained(made.create(SHAPE))
    assert first[0] != second[0]
    assert {len(first[0]), len(second[0])} == {32}
    assert b"".join(first[1:]) == b"".join(second[1:])
    assert [len(chunk) for chunk in first[1:]] == [CHUNK, CHUNK, CHUNK, 7]
    assert not reported


@pytest.mark.parametrize("surplus", [-1, 1, CHUNK])
def test_a_program_must_deal_what_it_says(surplus: int) -> None:
    made, _ = jobs(Settings(deal_too_many=surplus))
    with pytest.raises(ProtocolError, match="than its sizes say"):
        drained(made.create(SHAPE))


def test_a_program_that_fails_tells_the_parties_its_kind_alone() -> None:
    class Failing(DummyDealer):
        def deal(self, shape: QueryShape, seeds: tuple[bytes, bytes]) -> Iterator[tuple[int, Buffer]]:
            yield 0, b"x"
            raise ValueError("a secret value")

    reported: list[BaseException] = []
    made = Jobs(Failing(), CONFIG, reported.append)
    with pytest.raises(PartyError, match="ValueError") as failure:
        drained(made.create(SHAPE))
    assert "secret" not in str(failure.value)
    assert isinstance(reported[0], ValueError)


def test_a_party_that_does_not_come_ends_the_job() -> None:
    made, _ = jobs(Settings(rounds=8, round_bytes=CHUNK))
    job = made.create(SHAPE)
    with pytest.raises(DeadlineExceeded, match="does not fetch"):
        list(job.take(0))
    with pytest.raises(DeadlineExceeded):
        list(job.take(1))


def test_a_party_fetches_once() -> None:
    made, _ = jobs(Settings())
    job = made.create(SHAPE)
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
    made, _ = jobs(Settings(rounds=8, round_bytes=CHUNK), replace(CONFIG, stall_seconds=20))
    job = made.create(SHAPE)
    ours = iter(job.take(0))
    next(ours)
    assert job.lost(1)
    made.forget(job, PeerLost("party1 stopped fetching"))
    with pytest.raises(PeerLost):
        list(ours)


def test_jobs_are_bounded_and_expire() -> None:
    made, _ = jobs(Settings(), replace(CONFIG, stall_seconds=20))
    job = made.create(SHAPE)
    made.create(SHAPE)
    with pytest.raises(Overloaded):
        made.create(SHAPE)
    job.created -= 21
    made.create(SHAPE)
    with pytest.raises(ProtocolError, match="unknown"):
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
