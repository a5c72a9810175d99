"""Generations through real servers, in good order."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from async_link import AsyncLink
from dummy import TASK, Settings
from harness import SHAPE, Cluster, ask, free_port, wait_until
from harness import SHARES as QUERY
from sessions import SESSION, SHARES, freed, generate, tell

from privinf.config import ClientConfig
from privinf.errors import ConnectError, InputError, Overloaded
from privinf.parties.rpc.deadline import Deadline
from privinf.protocols.contract import Advance, SessionShape
from privinf.sdk.transport import Link

FULL = r"wait already|are under way"


@pytest.fixture
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Return servers that must have forgotten everything in the end."""
    yield cluster
    freed(cluster)


def test_passes_are_answered_and_counted(running: Cluster) -> None:
    settings = running.settings
    with running.link() as link, link.generate(SESSION) as generation:
        for index in range(5):
            first, second, stats = generation.step(Advance.first(1 if index else 0), SHARES)
            assert (first, second) == SHARES
            assert stats.session_id == generation.session_id
            assert (stats.query_bytes, stats.result_bytes) == (32, 32)
            for party in stats.parties:
                assert party.rounds == settings.rounds
                assert party.online_bytes == settings.rounds * settings.round_bytes
                assert party.online_bytes < party.wire_bytes < 2 * party.online_bytes + 500
                assert party.preparation_bytes == settings.prep_bytes()
                assert min(party.online_seconds, party.prepare_seconds) > 0
                assert party.offline_seconds >= 0
        assert [status.sessions for status in link.status()] == [1, 1]
    assert [status.sessions for status in link_status(running)] == [0, 0]


def link_status(cluster: Cluster) -> Any:
    """Ask with a link of its own."""
    with cluster.link() as link:
        return link.status()


def test_every_pass_has_a_preparation_of_its_own_and_none_is_stored(running: Cluster) -> None:
    with running.link() as link, link.generate(SESSION) as generation:
        for index in range(6):
            generation.step(Advance.first(min(index, 1)), SHARES)
    for program in running.programs.values():
        assert len(set(program.used)) == len(program.used) == 6
    for party in (0, 1):
        assert not (running.folder / f"party{party}" / "spent.log").read_text()
        assert not list(running.folder.glob(f"party{party}/*.prep*"))


def test_both_parties_are_told_what_is_kept_and_retired(tmp_path: Path, keys: Path) -> None:
    begun: list[Any] = []
    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        tell(cluster, begun)
        with link.generate(SESSION) as generation:
            for kept in (0, 2, 1, 2):
                generation.step(Advance.first(kept), SHARES)
        assert [session.kept for session in begun] == [[(), (0, 1), (0,), (0, 1)]] * 2
        assert [session.retired for session in begun] == [[(), (), (0,), (0,)]] * 2


def test_parts_of_a_prompt_have_no_result_and_may_be_sent_at_once(running: Cluster) -> None:
    shape = SessionShape(TASK, 11, 2)
    with running.link() as link, link.generate(shape) as generation:
        for _ in range(3):
            generation.send(Advance(), SHARES)
        for _ in range(2):
            first, second, stats = generation.receive()
            assert (first, second, stats.result_bytes) == (b"", b"", 0)
            assert [party.rounds for party in stats.parties] == [0, 0]
        assert generation.receive()[:2] == SHARES
        assert generation.step(Advance.first(2), SHARES)[:2] == SHARES


def test_shares_results_rounds_and_preparations_of_many_messages(tmp_path: Path, keys: Path) -> None:
    settings = Settings(rounds=2, round_bytes=(3 << 20) + 5, extra=(2 << 20) + 1)
    shape, shares = SessionShape(TASK, 3, 400_001), (bytes(3_200_008), b"\x01" * 3_200_008)
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with link.generate(shape) as generation:
            for _ in range(2):
                first, second, stats = generation.step(Advance(), shares, 30)
                assert (first, second) == shares
                assert stats.parties[1].preparation_bytes == settings.prep_bytes()
        freed(cluster)


def test_passes_are_prepared_ahead_and_no_further(tmp_path: Path, keys: Path) -> None:
    options: dict[str, dict[str, Any]] = {"party0": {"passes_ahead": 3}, "party1": {"passes_ahead": 2}}
    begun: list[Any] = []
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        tell(cluster, begun)
        with link.generate(SESSION) as generation:
            for done in range(1, 4):
                wait_until(lambda due=done + 1: _prepared(begun) == [due, due])
                generation.step(Advance(), SHARES)
            wait_until(lambda: _prepared(begun) == [5, 5])
            assert sorted(session.ordered for session in begun) == [0, 5]


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(("passes", "ready"), [(0.5, 1), (2.5, 2), (3.5, 3), (99, 4)])
def test_passes_are_prepared_ahead_within_their_bytes(
    tmp_path: Path, keys: Path, passes: float, ready: int
) -> None:
    """One is always had ready, whatever its size."""
    most = int(passes * Settings().prep_bytes())
    options: dict[str, dict[str, Any]] = {"party0": {"passes_ahead": 4, "max_ahead_bytes": most}}
    options["party1"] = {"passes_ahead": 4}
    begun: list[Any] = []
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        tell(cluster, begun)
        with link.generate(SESSION) as generation:
            for done in range(1, 4):
                wait_until(lambda due=done - 1 + ready: _prepared(begun) == [due, due])
                generation.step(Advance(), SHARES)
            wait_until(lambda: _prepared(begun) == [3 + ready] * 2)
            assert sorted(session.ordered for session in begun) == [0, 3 + ready]


def _prepared(begun: list[Any]) -> list[int]:
    return [session.prepared for session in begun]


@pytest.mark.slow
def test_generations_and_queries_run_side_by_side(running: Cluster) -> None:
    with running.link() as link, ThreadPoolExecutor(4) as pool:
        generations = list(pool.map(lambda _: generate(link, 4), range(6)))
        for _ in pool.map(lambda _: (ask(link), generate(link, 3)), range(4)):
            pass
    assert len(set(generations)) == 6
    assert len(set(running.programs["party0"].used)) == 6 * 4 + 4 + 4 * 3


def test_sessions_are_bounded_with_queries(tmp_path: Path, keys: Path) -> None:
    options = {role: {"max_sessions": 1, "max_waiting": 1} for role in ("party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation:
            generation.step(Advance(), SHARES)
            waits = link.start(SHAPE, QUERY, Deadline.after(20))
            wait_until(lambda: [status.waiting for status in link.status()] == [1, 1])
            with pytest.raises(Overloaded, match=FULL):
                ask(link, 3.0)
            with (
                cluster.link(deadline=3.0) as hasty,
                pytest.raises(Overloaded, match=FULL),
            ):
                hasty.generate(SESSION)
            assert generation.step(Advance.first(1), SHARES)[:2] == SHARES
        assert waits.result()[:2] == QUERY
        generate(link, 1)
        freed(cluster)


def test_a_batch_is_bounded_by_each_party(tmp_path: Path, keys: Path) -> None:
    """A client asks how many prompts both take, and is told by whichever takes fewer."""
    with (
        Cluster(tmp_path, keys, options={"party0": {"max_batch": 5}, "party1": {"max_batch": 3}}) as cluster,
        cluster.link() as link,
    ):
        assert [status.max_batch for status in link.status()] == [5, 3]
        assert link.most_together() == 3
        with link.generate(replace(SESSION, batch=3)) as generation:
            assert generation.step(Advance(), SHARES)[:2] == SHARES
        with pytest.raises(InputError, match="4 prompts together: this server takes 3") as failure:
            link.generate(replace(SESSION, batch=4))
        assert failure.value.party == "party1"
        freed(cluster)


def test_the_dealers_sessions_are_bounded(tmp_path: Path, keys: Path) -> None:
    with (
        Cluster(tmp_path, keys, options={"dealer": {"max_sessions": 1}}) as cluster,
        cluster.link() as link,
        ThreadPoolExecutor(1) as pool,
    ):
        with link.generate(SESSION) as generation:
            generation.step(Advance(), SHARES)
            waiting = pool.submit(generate, link, 2)
            wait_until(lambda: link.status()[0].sessions == 2)
            generation.step(Advance(), SHARES)
            assert not waiting.done()
        waiting.result(20)
        freed(cluster)


def test_a_shape_that_cannot_be_served_is_refused(running: Cluster) -> None:
    for shape in (SessionShape("other", 1, 1), SessionShape(TASK, 0, 1), SessionShape(TASK, 1, 0)):
        with running.link() as link, pytest.raises(InputError) as failure:
            link.generate(shape)
        assert failure.value.party in ("party0", "party1")
        assert failure.value.session_id is not None


def test_a_generation_that_is_full_serves_what_was_ordered(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, Settings(passes=3)) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation:
            for _ in range(3):
                generation.step(Advance(), SHARES)
            with pytest.raises(InputError, match="at most 3 passes") as failure:
                generation.step(Advance(), SHARES)
            assert failure.value.party == "party0"
        freed(cluster)


def test_a_generation_that_is_over_is_used_no_more(running: Cluster) -> None:
    with running.link() as link:
        generation = link.generate(SESSION)
        generation.step(Advance(), SHARES)
        generation.close()
        generation.close()
        generation.cancel()
        with pytest.raises(ConnectError, match="over"):
            generation.step(Advance(), SHARES)
        unused = link.generate(SESSION)
        unused.close()
    with pytest.raises(ConnectError, match="closed"):
        link.generate(SESSION)


def test_without_tls(tmp_path: Path, keys: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = {"tls": None, "insecure_no_tls": True}
    options: dict[str, dict[str, Any]] = {role: dict(plain) for role in ("dealer", "party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster:
        parties = (cluster.address("party0"), cluster.address("party1"))
        with Link(ClientConfig(parties=parties, insecure_no_tls=True)) as link:
            generate(link, 3)
        freed(cluster)


def test_asyncio(running: Cluster) -> None:
    async def several() -> None:
        async with AsyncLink(running.client()) as link:

            async def one() -> str:
                with await link.generate(SESSION) as generation:
                    for index in range(3):
                        assert (await link.step(generation, Advance(), SHARES))[:2] == SHARES, index
                    return generation.session_id

            assert len(set(await asyncio.gather(*(one() for _ in range(3))))) == 3

    asyncio.run(several())


def test_what_was_opened_is_journalled_where_it_is_asked_for(tmp_path: Path, keys: Path) -> None:
    path = tmp_path / "journal"
    with Cluster(tmp_path, keys, options={"party1": {"journal": path}}) as cluster:
        with cluster.link() as link:
            generate(link, 2)
        rounds = cluster.settings.rounds
        lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
        assert len({line[0] for line in lines}) == 1
        assert [line[1] for line in lines] == ["0"] * rounds + ["1"] * rounds
        assert [line[2] for line in lines] == [f"wire{round_} 8 (64,)" for round_ in range(2 * rounds)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_metrics_count_passes(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, keys, options={"party0": {"metrics_port": port}}) as cluster:
        with cluster.link() as link:
            generate(link, 4)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            text = response.read().decode()
    assert 'privinf_pass_seconds_count{phase="online",role="party0"} 4.0' in text
    assert f'privinf_rounds_total{{role="party0"}} {4 * cluster.settings.rounds}.0' in text


def test_logs_say_how_a_generation_went(
    tmp_path: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Cluster(tmp_path, keys) as cluster:
        with cluster.link() as link:
            session = generate(link, 3)
        freed(cluster)
    lines = capfd.readouterr().err.splitlines()
    assert not [line for line in lines if '"refused"' in line or '"failed"' in line]
    assert sum('"generated"' in line and session in line and '"passes": 3' in line for line in lines) == 2
    assert sum('"dealt"' in line for line in lines) == 1


def test_a_client_gets_what_the_parties_allow_where_it_asks_for_more(tmp_path: Path, keys: Path) -> None:
    options = {role: {"max_seconds": 60.0} for role in ("party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation:  # the SDK's default is an hour
            generation.step(Advance(), SHARES)
            lives = [cluster.party(party).calls._generations._lives.now()[0] for party in (0, 1)]
            assert all(life.deadline.left("online") <= 60 for life in lives)
        freed(cluster)


def test_a_stopping_party_ends_after_the_pass_under_way(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    options: dict[str, dict[str, Any]] = {"party0": {"stop_seconds": 20}}
    settings = Settings(halt_at=4, gate=str(gate))
    with Cluster(tmp_path, keys, settings, options) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation:
            generation.step(Advance(), SHARES)
            generation.send(Advance(), SHARES)
            wait_until(gate.with_suffix(".reached").exists)
            (life,) = cluster.party(0).calls._generations._lives.now()
            stopping = threading.Thread(target=cluster.stop, args=("party0",))
            stopping.start()
            wait_until(lambda: life.draining)
            gate.unlink()
            assert generation.receive()[:2] == SHARES
            with pytest.raises((Overloaded, ConnectError)):
                generation.step(Advance(), SHARES)
        stopping.join()
        freed(cluster)
