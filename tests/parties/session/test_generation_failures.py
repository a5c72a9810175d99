"""Generations that end badly: each by a typed error at the client, and with nothing left at any server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from async_link import AsyncLink
from dummy import Settings
from halted import Halted
from harness import Cluster, ask, wait_until
from sessions import SESSION, SHARES, freed, generate, once, spend

from privinf.errors import (
    ConnectError,
    DeadlineExceeded,
    IntegrityError,
    PartyError,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.protocols.contract import Advance
from privinf.sdk.call import Call

IDENTITY = Settings().identity


@pytest.mark.parametrize("party", [0, 1])
def test_a_client_cancels_in_a_pass(tmp_path: Path, keys: Path, party: int) -> None:
    with Halted(tmp_path, keys, halt_at=4, halt_party=party) as halted:
        generation = halted.link.generate(SESSION)
        halted.reach(generation)
        generation.cancel()
        halted.open()
        freed(halted.cluster)
        with pytest.raises(ConnectError, match="over"):
            generation.receive()
        generate(halted.link, 3)


def test_a_client_cancels_between_passes(cluster: Cluster) -> None:
    with cluster.link() as link:
        generation = link.generate(SESSION)
        generation.step(Advance(), SHARES)
        generation.cancel()
        freed(cluster)
        generate(link, 2)


def test_a_client_cancels_while_another_thread_waits(tmp_path: Path, keys: Path) -> None:
    with Halted(tmp_path, keys, halt_at=4) as halted:
        generation = halted.link.generate(SESSION)
        halted.reach(generation)
        failures: list[PrivinfError] = []

        def wait() -> None:
            try:
                generation.receive()
            except PrivinfError as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        generation.cancel()
        waiting.join(10)
        assert isinstance(failures[0], ConnectError)


def test_a_link_that_is_closed_ends_its_generations(tmp_path: Path, keys: Path) -> None:
    with Halted(tmp_path, keys, halt_at=4) as halted:
        generation = halted.link.generate(SESSION)
        halted.reach(generation)
        halted.link.close()
        with pytest.raises(PeerLost) as failure:
            generation.receive()
        assert failure.value.session_id == generation.session_id


def test_an_exception_in_the_clients_block_drops_the_generation(cluster: Cluster) -> None:
    with cluster.link() as link:
        generation = link.generate(SESSION)
        generation.step(Advance(), SHARES)
        with pytest.raises(ValueError, match="theirs"), generation:
            raise ValueError("theirs")
        freed(cluster)


def test_a_cancelled_task_drops_its_generation(tmp_path: Path, keys: Path) -> None:
    async def cancelled(halted: Halted) -> None:
        async with AsyncLink(halted.cluster.client()) as link:
            generation = await link.generate(SESSION)
            await link.step(generation, Advance(), SHARES)
            task = asyncio.create_task(link.step(generation, Advance.first(1), SHARES))
            await asyncio.to_thread(wait_until, halted.gate.with_suffix(".reached").exists)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            halted.open()

    with Halted(tmp_path, keys, halt_at=4) as halted:
        asyncio.run(cancelled(halted))


@pytest.mark.parametrize("party", [0, 1])
def test_a_program_that_fails_in_a_pass_ends_the_generation_alone(
    tmp_path: Path, keys: Path, party: int
) -> None:
    with Cluster(tmp_path, keys, Settings(fail_at=4, fail_party=party)) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation:
            generation.step(Advance(), SHARES)
            with pytest.raises(IntegrityError, match="told to fail") as failure:
                generation.step(Advance(), SHARES)
            assert failure.value.party in (f"party{party}", "party0")
            assert failure.value.session_id == generation.session_id
            with pytest.raises(ConnectError, match="over"):
                generation.step(Advance(), SHARES)
        freed(cluster)
        generate(link, 1)
        ask(link)


@pytest.mark.parametrize("party", [0, 1])
def test_a_program_that_fails_ahead_ends_the_generation(tmp_path: Path, keys: Path, party: int) -> None:
    settings = Settings(fail_prepare=True, fail_party=party)
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with pytest.raises(IntegrityError, match="told to fail ahead") as failure:
            once(link)
        assert failure.value.party in (f"party{party}", "party0")
        freed(cluster)


def test_an_exception_of_the_program_ahead_is_told_by_its_kind(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> object:
        raise ValueError("a secret value")

    monkeypatch.setattr("dummy.DummyGeneration.prepare", broken)
    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        with pytest.raises(PartyError, match="ValueError") as failure:
            once(link)
        freed(cluster)
    assert "secret" not in str(failure.value) + capfd.readouterr().err


@pytest.mark.parametrize("settings", [Settings(expect_more=1), Settings(wrong_result=1)])
def test_a_program_that_breaks_its_word_is_refused(tmp_path: Path, keys: Path, settings: Settings) -> None:
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with (
            link.generate(SESSION) as generation,
            pytest.raises(ProtocolError, match=r"were expected|another size"),
        ):
            generation.step(Advance(), SHARES)
        freed(cluster)


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (Settings(deal_too_many=1), "were not used"),
        (Settings(deal_too_many=1 << 20), "not used|sent more"),
        (Settings(deal_too_many=-1), "sent less"),
        (Settings(deal_too_many=-1000), "sent less"),
        (Settings(leave_unread=1), "were not used"),
    ],
)
def test_a_pass_takes_exactly_what_is_dealt(
    tmp_path: Path, keys: Path, settings: Settings, complaint: str
) -> None:
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with pytest.raises(ProtocolError, match=complaint):
            once(link)
        freed(cluster)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("role", ["party0", "party1"])
@pytest.mark.parametrize("between", [True, False])
def test_a_party_that_leaves_ends_the_generation(
    tmp_path: Path, keys: Path, role: str, between: bool
) -> None:
    settings = {"halt_at": -1 if between else 4, "halt_party": 1 - int(role[-1])}
    with Halted(tmp_path, keys, **settings) as halted:
        generation = halted.link.generate(SESSION)
        if between:
            generation.step(Advance(), SHARES)
        else:
            halted.reach(generation)
        halted.cluster.stop(role)
        halted.open()
        with pytest.raises(PrivinfError) as failure:
            generation.step(Advance.first(1), SHARES) if between else generation.receive()
        assert failure.value.party == role
        freed(halted.cluster)


@pytest.mark.parametrize("between", [True, False])
def test_a_dealer_that_leaves_ends_the_generation(tmp_path: Path, keys: Path, between: bool) -> None:
    with Halted(tmp_path, keys, halt_deal=-1 if between else 1) as halted:
        generation = halted.link.generate(SESSION)
        generation.step(Advance(), SHARES)
        if not between:
            wait_until(halted.gate.with_suffix(".reached").exists)
        halted.cluster.stop("dealer")
        with pytest.raises((ConnectError, PartyError)) as failure:
            spend(generation)
        assert failure.value.party == "dealer"
        halted.open()
        freed(halted.cluster)
        halted.cluster.start("dealer")
        wait_until(lambda: _generates(halted))


def _generates(halted: Halted) -> bool:
    try:
        generate(halted.link, 2)
    except ConnectError:
        return False
    return True


def test_who_cannot_be_reached_is_named(cluster: Cluster) -> None:
    for role in ("dealer", "party1"):
        with cluster.link() as link:
            link.connect()
            cluster.stop(role)
            with pytest.raises(ConnectError) as failure:
                link.generate(SESSION)
            assert failure.value.party == role
            freed(cluster)


def test_a_client_that_says_nothing_is_forgotten(tmp_path: Path, keys: Path) -> None:
    options = {"party0": {"idle_seconds": 1.5}, "party1": {"idle_seconds": 1.5}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        generation = link.generate(SESSION)
        generation.step(Advance(), SHARES)
        wait_until(lambda: [status.sessions for status in link.status()] == [0, 0])
        with pytest.raises(DeadlineExceeded, match=r"asked for nothing for 1\.5 s"):
            generation.step(Advance(), SHARES)
        freed(cluster)


@pytest.mark.slow
def test_a_client_that_never_asks_is_forgotten(tmp_path: Path, keys: Path) -> None:
    options = {"party0": {"idle_seconds": 1.5}, "party1": {"idle_seconds": 1.5}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        unused = link.generate(SESSION)
        wait_until(lambda: not unused._readers[0].is_alive() and not unused._readers[1].is_alive())
        with pytest.raises(DeadlineExceeded, match="asked for nothing"):
            unused.step(Advance(), SHARES)
        freed(cluster)


def test_time_runs_out_for_a_pass(tmp_path: Path, keys: Path) -> None:
    with Halted(tmp_path, keys, halt_at=4) as halted:
        generation = halted.link.generate(SESSION)
        generation.step(Advance(), SHARES)
        with pytest.raises(DeadlineExceeded, match=r"pass 1 took longer than 0\.2 s") as failure:
            generation.step(Advance(), SHARES, 0.2)
        assert failure.value.session_id == generation.session_id
        halted.open()
        freed(halted.cluster)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(("changes", "phase"), [({"halt_at": 4}, "online"), ({"halt_deal": 1}, "offline")])
def test_time_runs_out_for_a_generation(
    tmp_path: Path, keys: Path, changes: dict[str, int], phase: str
) -> None:
    with Halted(tmp_path, keys, **changes) as halted, halted.cluster.link(session_deadline=2.5) as link:
        link.connect()
        generation = link.generate(SESSION)
        generation.step(Advance(), SHARES)
        with pytest.raises(DeadlineExceeded) as failure:
            generation.step(Advance(), SHARES)
        assert failure.value.phase in (phase, "online")  # the client's own clock knows no more
        halted.open()
    late = Call()
    late.late = 1e6
    with cluster_link_expired(halted), pytest.raises(DeadlineExceeded):
        halted.link.generate(SESSION, late)


def cluster_link_expired(halted: Halted) -> Any:
    """Return a link that is not closed, to servers that are gone."""
    halted.link = halted.cluster.link()
    halted.link._agreed = IDENTITY
    return halted.link
