"""A client that finds no room: it waits, asks again with new shares, and gives up in time."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from async_link import AsyncLink
from dummy import Settings
from harness import SHAPE, SHARES, Cluster, ask, tls, wait_until
from sessions import SESSION, freed, generate
from sessions import SHARES as PASS

from privinf.errors import DeadlineExceeded, InputError, Overloaded
from privinf.parties.rpc.credentials import dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.methods import INFER
from privinf.protocols.contract import Advance
from privinf.sdk.call import Call
from privinf.sdk.patience import Patience, patiently
from privinf.sdk.threads import Threads

BUSY: dict[str, Any] = {role: {"max_sessions": 1, "max_waiting": 1} for role in ("party0", "party1")}


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients wait for a moment where a server's hint says a second or more."""
    pause = Patience.pause
    monkeypatch.setattr(Patience, "pause", lambda *asked: min(pause(*asked), 0.2))


def full(retry_after: float | None = 0.01) -> Overloaded:
    """A refusal."""
    return Overloaded("no room", retry_after=retry_after)


def test_pauses_follow_the_servers_hint_and_grow() -> None:
    patience = Patience(Deadline.after(1000), lambda low, high: (low + high) / 2)
    assert [patience.pause(full(2.0)) for _ in range(3)] == [2.0, 3.0, 4.5]
    for _ in range(20):
        patience.pause(full(2.0))
    assert patience.pause(full(2.0)) == 16.0


def test_pauses_are_not_the_same_for_all() -> None:
    pauses = {Patience(Deadline.after(1000)).pause(full(2.0)) for _ in range(8)}
    assert len(pauses) > 1
    assert all(1.0 <= pause <= 3.0 for pause in pauses)


@pytest.mark.parametrize(
    ("refusal", "again", "seconds"),
    [(full(None), True, 100.0), (full(), False, 100.0), (full(60.0), True, 10.0)],
)
def test_a_refusal_is_told_at_once_where_waiting_is_of_no_use(
    refusal: Overloaded, again: bool, seconds: float
) -> None:
    with pytest.raises(Overloaded) as told:
        Patience(Deadline.after(seconds)).pause(refusal, again)
    assert told.value is refusal


def test_who_runs_out_of_time_after_a_refusal_is_told_that_there_was_no_room() -> None:
    late, refusal = DeadlineExceeded("the deadline passed (connect)"), full()
    ends: list[Exception] = [late, late, refusal]

    def attempt() -> None:
        raise ends.pop()

    with pytest.raises(Overloaded) as told:
        patiently(attempt, Deadline.after(10))
    assert told.value is refusal
    with pytest.raises(DeadlineExceeded):
        patiently(attempt, Deadline.after(10))  # nobody had refused it


def test_only_want_of_room_is_waited_for() -> None:
    tries: list[int] = []

    def attempt() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise full()
        return len(tries)

    assert patiently(attempt, Deadline.after(10)) == 3
    with pytest.raises(InputError):
        patiently(lambda: (_ for _ in ()).throw(InputError("no")), Deadline.after(10))


def test_many_queries_of_a_busy_party_are_all_answered_and_share_anew(tmp_path: Path, keys: Path) -> None:
    """One computes and one waits; the others are refused, and come again."""
    drawn: list[bytes] = []

    def shares() -> tuple[bytes, bytes]:
        drawn.append(os.urandom(8))
        return drawn[-1], drawn[-1]

    with Cluster(tmp_path, keys, options=BUSY) as cluster, cluster.link() as link:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: link.run(SHAPE, shares, Call(60)), range(6)))
        assert len(set(drawn)) == len(drawn) > 6
        assert {first for first, _, _ in answers} <= set(drawn)
        assert len({stats.session_id for _, _, stats in answers}) == 6


@pytest.mark.usefixtures("short_pauses")
def test_shares_that_were_sent_are_not_sent_again(tmp_path: Path, keys: Path) -> None:
    """The store is full, which shows when the query has its place: it may come again with new shares alone."""
    options = {"party0": {"max_store_bytes": 1000}}
    drawn = iter((SHARES, SHARES))

    def shares() -> tuple[bytes, bytes]:
        try:
            return next(drawn)
        except StopIteration:
            raise InputError("enough") from None

    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        with pytest.raises(Overloaded, match="do not fit"):
            link.run(SHAPE, SHARES, Call(1e6))
        with pytest.raises(InputError, match="enough"):
            link.run(SHAPE, shares, Call(1e6))


def test_a_task_may_gather_more_than_the_parties_take_at_once(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privinf.sdk.threads.ASYNC_CALLS", 8)
    options = {role: {"max_sessions": 2} for role in ("party0", "party1")}

    async def gathered(cluster: Cluster) -> list[Any]:
        async with AsyncLink(cluster.client()) as link:
            return await asyncio.gather(*(link.run(SHAPE, SHARES, 60) for _ in range(12)))

    with Cluster(tmp_path, keys, options=options) as cluster:
        answers = asyncio.run(gathered(cluster))
        assert {answer[:2] for answer in answers} == {SHARES}
        with cluster.link() as link:
            wait_until(lambda: [(s.sessions, s.waiting) for s in link.status()] == [(0, 0)] * 2)


def test_a_task_may_gather_generations_too(tmp_path: Path, keys: Path) -> None:
    options = {role: {"max_sessions": 2} for role in ("party0", "party1")}

    async def one(link: AsyncLink) -> None:
        with await link.generate(SESSION) as generation:
            for index in range(2):
                assert (await link.step(generation, Advance.first(min(index, 1)), PASS))[:2] == PASS

    async def gathered(cluster: Cluster) -> None:
        async with AsyncLink(cluster.client()) as link:
            await asyncio.gather(*(one(link) for _ in range(6)))

    with Cluster(tmp_path, keys, options=options) as cluster:
        asyncio.run(gathered(cluster))
        freed(cluster)


@pytest.mark.usefixtures("short_pauses")
def test_a_generation_waits_for_its_place(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, options=BUSY) as cluster, cluster.link() as link:
        with ThreadPoolExecutor(3) as pool:
            assert len(set(pool.map(lambda _: generate(link, 2), range(3)))) == 3
        freed(cluster)


def test_a_cancelled_task_waits_no_more(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()

    async def cancelled(cluster: Cluster) -> None:
        async with AsyncLink(cluster.client()) as link:
            first = asyncio.create_task(link.run(SHAPE, SHARES, 60))
            await asyncio.to_thread(wait_until, gate.with_suffix(".reached").exists)
            second = asyncio.create_task(link.run(SHAPE, SHARES, 60))
            waits = cluster.party(0).calls._admission
            await asyncio.to_thread(wait_until, lambda: waits.waiting == 1)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            await asyncio.to_thread(wait_until, lambda: waits.waiting == 0)
            gate.unlink()
            assert (await first)[:2] == SHARES

    with Cluster(tmp_path, keys, Settings(halt_at=1, gate=str(gate)), BUSY) as cluster:
        asyncio.run(cancelled(cluster))
        with cluster.link() as link:
            ask(link)


def test_a_cancelled_task_waits_no_more_for_a_generations_place(tmp_path: Path, keys: Path) -> None:
    async def cancelled(cluster: Cluster) -> None:
        waits = cluster.party(0).calls._admission
        async with AsyncLink(cluster.client()) as link:
            with await link.generate(SESSION):
                second = asyncio.create_task(link.generate(SESSION))
                await asyncio.to_thread(wait_until, lambda: waits.waiting == 1)
                second.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await second
                await asyncio.to_thread(wait_until, lambda: waits.waiting == 0)

    with Cluster(tmp_path, keys, options=BUSY) as cluster:
        asyncio.run(cancelled(cluster))
        freed(cluster)


def test_what_is_given_up_before_it_was_asked_is_dropped_at_once() -> None:
    """Between two attempts of one that is refused: no pause is waited out, and no attempt after it stays."""
    call, dropped = Call(), list[str]()
    call.cancel()
    assert call.sleep(60.0)

    class Begun:
        def cancel(self) -> None:
            dropped.append("cancelled")

    call.begun(Begun())
    assert dropped == ["cancelled"]


def test_waiting_for_a_turn_in_the_client_counts(tmp_path: Path, keys: Path) -> None:
    call = Call(20)
    call.late = 100.0
    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        with pytest.raises(DeadlineExceeded):
            link.run(SHAPE, SHARES, call)
        assert link.run(SHAPE, SHARES, call)[:2] == SHARES  # of what it begins with alone


def test_a_call_knows_how_late_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privinf.sdk.threads.ASYNC_CALLS", 1)

    async def two() -> tuple[float, float]:
        threads, busy, first, second = Threads(), threading.Event(), Call(), Call()
        try:
            holding = asyncio.create_task(threads.run(lambda _: busy.wait(30), first))
            waiting = asyncio.create_task(threads.run(lambda call: call.late, second))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.1, busy.set)
            await holding
            return first.late, await waiting
        finally:
            threads.close()

    first, second = asyncio.run(two())
    assert 0 <= first < second


@pytest.mark.usefixtures("short_pauses")
def test_a_client_that_has_all_its_calls_under_way_connects_once_one_has_ended(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster(tmp_path, keys, options=BUSY) as cluster, cluster.link() as link:
        calls, queue = cluster.party(0)._guard._calls, SimpleQueue[bytes | None]()
        peer = dial(cluster.address("party0"), "party0", tls(keys, "client"), "client")
        call = peer.channel.stream_stream(INFER.path)
        silent = [call(iter(queue.get, None)) for _ in range(calls.each)]
        wait_until(lambda: calls.taken == calls.each)
        refused, take = threading.Event(), calls._take

        def noted(*asked: Any) -> None:
            try:
                take(*asked)
            except Overloaded:
                refused.set()
                raise

        monkeypatch.setattr(calls, "_take", noted)
        with ThreadPoolExecutor(1) as pool:
            reached = pool.submit(link.connect)
            assert refused.wait(30)
            for one in silent:
                one.cancel()
            assert reached.result(30).model_id == Settings().identity.model_id
        for _ in silent:
            queue.put(None)
        peer.close()
