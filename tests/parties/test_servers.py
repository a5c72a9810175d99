"""Queries through real servers, in good order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from dummy import DummyDealer, DummyParty, Settings
from harness import SHAPE, SHARES, Cluster, ask, tls, wait_until

from privinf.config import PartyConfig
from privinf.errors import (
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    IntegrityError,
    MismatchError,
    Overloaded,
    ProtocolError,
)
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.serve import PartyServer
from privinf.parties.stock.record import file_bytes
from privinf.protocols.contract import QueryShape, StockSizes
from privinf.sdk.call import Call
from privinf.sdk.transport import Link

AHEAD: dict[str, dict[str, Any]] = {"party0": {"ahead": 2, "shapes": (SHAPE,)}}
FULL = r"wait already|are under way"


def room(settings: Settings) -> int:
    """Return what a preparation takes from the disk."""
    return file_bytes(StockSizes(settings.prep_bytes(), settings.precomputed))


def test_a_query_is_answered_and_counted(cluster: Cluster) -> None:
    settings = cluster.settings
    with cluster.link() as link:
        stats = ask(link)
    assert len(stats.session_id) == 32
    assert (stats.query_bytes, stats.result_bytes) == (16, 16)
    for party in stats.parties:
        assert party.rounds == settings.rounds
        assert party.online_bytes == settings.rounds * settings.round_bytes
        assert party.wire_bytes > party.online_bytes
        assert party.preparation_bytes == settings.prep_bytes()
        assert min(party.online_seconds, party.offline_seconds, party.prepare_seconds) > 0


def test_a_share_and_a_round_of_many_messages(tmp_path: Path, keys: Path) -> None:
    settings = Settings(rounds=2, round_bytes=(3 << 20) + 5, extra=2 << 20)
    shape = QueryShape("echo", 3, 1_000_001)
    shares = (bytes(3_000_003), b"\x01" * 3_000_003)
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        first, second, stats = link.run(shape, shares, Call(30))
    assert (first, second) == shares
    assert stats.parties[0].online_bytes == 2 * settings.round_bytes


def test_every_query_has_its_own_preparation(cluster: Cluster) -> None:
    with cluster.link() as link, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(link), range(12)))
    assert len({stats.session_id for stats in answers}) == 12
    for program in cluster.programs.values():
        assert len(set(program.used)) == len(program.used) == 12
    spent = (cluster.folder / "party0" / "spent.log").read_text().split()
    assert len(set(spent)) == 12
    assert set(spent) == set((cluster.folder / "party1" / "spent.log").read_text().split())
    assert not list(cluster.folder.glob("party?/*.prep*"))


def test_preparations_are_made_ahead_and_replaced(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, options=AHEAD) as cluster, cluster.link() as link:
        wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
        assert link.status()[0].store_bytes == 2 * room(cluster.settings)
        ask(link)
        wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
        ask(link)
        assert len(set(cluster.programs["party0"].used)) == 2


def test_a_query_costs_arithmetic_alone_until_it_has_its_place(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a preparation takes may need a walk through the whole model, which shapes that wait do not get."""
    gate, noted, sizes = tmp_path / "gate", list[QueryShape](), DummyParty.stock_sizes
    other = QueryShape("echo", 2, 8)

    def note(party: DummyParty, shape: QueryShape) -> StockSizes:
        noted.append(shape)
        return sizes(party, shape)

    monkeypatch.setattr(DummyParty, "stock_sizes", note)
    gate.touch()
    options = {role: {"max_sessions": 1} for role in ("party0", "party1")}
    with (
        Cluster(tmp_path, keys, Settings(halt_at=1, gate=str(gate)), options) as cluster,
        cluster.link() as link,
    ):
        first = link.start(SHAPE, SHARES, Deadline.after(60))
        wait_until(gate.with_suffix(".reached").exists)
        second = link.start(other, (bytes(16), bytes(16)), Deadline.after(60))
        wait_until(lambda: link.status()[0].waiting == 1)
        assert set(noted) == {SHAPE}
        gate.unlink()
        assert first.result()[:2] == SHARES
        assert second.result()[:2] == (bytes(16), bytes(16))
    assert set(noted) == {SHAPE, other}


def test_a_sequence_of_queries_finds_preparations_ready(tmp_path: Path, keys: Path) -> None:
    """The keeper works while a query runs: it makes the next ones during the wait at the gate."""
    gate = tmp_path / "gate"
    settings = Settings(halt_at=1, gate=str(gate))
    with Cluster(tmp_path, keys, settings, AHEAD) as cluster, cluster.link() as link:
        for _ in range(20):
            wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
            gate.touch()
            run = link.start(SHAPE, SHARES, Deadline.after(20))
            wait_until(gate.with_suffix(".reached").exists)
            wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
            assert link.status()[0].sessions == 1
            gate.with_suffix(".reached").unlink()
            gate.unlink()
            assert run.result()[:2] == SHARES
        assert len(set(cluster.programs["party0"].used)) == 20


def test_the_keeper_waits_for_room_and_goes_on_when_a_query_gives_some_back(
    tmp_path: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = room(Settings())
    options: dict[str, dict[str, Any]] = {"party0": AHEAD["party0"] | {"max_store_bytes": 2 * one}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        for _ in range(3):
            wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
            ask(link)
    assert "do not fit" not in capfd.readouterr().err


def test_what_is_to_be_kept_ready_must_fit(tmp_path: Path, keys: Path) -> None:
    two = 2 * room(Settings())
    config = PartyConfig(
        party=0,
        peer="127.0.0.1:1",
        dealer="127.0.0.1:1",
        store=tmp_path / "store",
        tls=tls(keys, "party0"),
        max_store_bytes=two - 1,
        **AHEAD["party0"],
    )
    with pytest.raises(ConfigError, match=f"ahead: .* takes {two} bytes"):
        PartyServer(config, DummyParty(0).program())
    with PartyServer(
        replace(config, max_store_bytes=two, stop_seconds=0.2), DummyParty(0).program()
    ) as server:
        assert server.port


def test_a_party_that_cannot_prepare_costs_the_query_and_leaves_nothing(tmp_path: Path, keys: Path) -> None:
    for party in (0, 1):
        settings = Settings(fail_prepare=True, fail_party=party)
        with Cluster(tmp_path / str(party), keys, settings) as cluster, cluster.link() as link:
            with pytest.raises(IntegrityError, match="told to fail ahead") as failure:
                ask(link)
            assert failure.value.party in (f"party{party}", "party0")
            wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])
        assert not list(tmp_path.glob("?/party?/*.prep*"))


def test_what_was_prepared_outlives_a_restart_and_what_was_spent_does_not(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, options=AHEAD) as cluster:
        with cluster.link() as link:
            wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
            kept = {path.name for path in tmp_path.glob("party0/*.prep")}
        for role in ("party0", "party1"):
            cluster.stop(role)
        used = kept.pop()  # a crash between the mark and the deletion would leave such a file
        with (tmp_path / "party1" / "spent.log").open("a") as log:
            log.write(used.removesuffix(".prep") + "\n")
        cluster.options = {}  # nothing new is made: what is ready now is what was ready then
        for role in ("party1", "party0"):
            cluster.start(role)
        with cluster.link() as link:
            wait_until(lambda: not list(tmp_path.glob(f"party?/{used}")))
            wait_until(lambda: [status.ready.get(SHAPE) for status in link.status()] == [1, 1])
            ask(link)
            assert [status.ready.get(SHAPE) for status in link.status()] == [None, None]
        assert kept.pop().removesuffix(".prep") in (tmp_path / "party0" / "spent.log").read_text()


@pytest.mark.parametrize("party", [0, 1])
def test_a_preparation_of_other_sizes_is_spent_and_never_evaluated(
    tmp_path: Path, keys: Path, party: int
) -> None:
    """As if the program had changed under one version after it was stored."""
    options = {"party0": {"ahead": 1, "shapes": (SHAPE,)}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        wait_until(lambda: all(status.ready.get(SHAPE) == 1 for status in link.status()))
        (stored,) = tmp_path.glob("party0/*.prep")
        program = cluster.programs[f"party{party}"]
        program.settings = replace(program.settings, precomputed=41)
        with pytest.raises(MismatchError, match="other sizes") as failure:
            ask(link)
        assert failure.value.party in (f"party{party}", "party0")
        assert not program.used
        wait_until(lambda: not list(tmp_path.glob(f"party?/{stored.name}")))  # party 1 may be a moment behind
        logs = list(tmp_path.glob("party?/spent.log"))
        wait_until(lambda: [stored.stem in log.read_text() for log in logs] == [True, True])
        ask(link)


@pytest.mark.parametrize("changes", [{"precomputed": 41}, {"extra": 999}])
def test_a_restart_drops_what_has_other_sizes(tmp_path: Path, keys: Path, changes: dict[str, int]) -> None:
    with Cluster(tmp_path, keys, options=AHEAD) as cluster:
        with cluster.link() as link:
            wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
        cluster.stop("party0")
        cluster.stop("party1")
        cluster.options, cluster.each = {}, {"party1": Settings(**changes)}
        cluster.start("party1")
        assert not list(tmp_path.glob("party1/*.prep"))
        cluster.start("party0")
        wait_until(lambda: not list(tmp_path.glob("party0/*.prep")))  # when it hears that party 1 has none


def test_a_party_that_lost_its_store_costs_preparations_and_no_query(tmp_path: Path, keys: Path) -> None:
    options = {"party0": {"ahead": 5, "shapes": (SHAPE,)}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        wait_until(lambda: all(status.ready.get(SHAPE) == 5 for status in link.status()))
        cluster.stop("party1")
        for path in (tmp_path / "party1").glob("*.prep"):
            path.unlink()
        cluster.start("party1")
        ask(link)
        wait_until(lambda: all(status.ready.get(SHAPE) == 5 for status in link.status()))
        ask(link)


def test_a_client_that_leaves_gives_its_place_back_though_its_preparation_still_comes(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, deal = Event(), Event(), DummyDealer.deal

    def waiting(*given: Any) -> Iterator[Any]:
        begun.set()
        assert go.wait(60)
        yield from deal(*given)

    monkeypatch.setattr(DummyDealer, "deal", waiting)
    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        try:
            run = link.start(SHAPE, SHARES, Deadline.after(60))
            assert begun.wait(30)
            run.cancel()
            wait_until(lambda: [status.sessions for status in link.status()] == [0, 0], 20)
            wait_until(
                lambda: not any(cluster.party(party).calls._supply.store.usage() for party in (0, 1)),
                20,
            )
        finally:
            go.set()
        ask(link)


def test_a_failing_program_ends_the_session_alone(tmp_path: Path, keys: Path) -> None:
    for party in (0, 1):
        settings = Settings(fail_at=1, fail_party=party)
        with Cluster(tmp_path / str(party), keys, settings) as cluster, cluster.link() as link:
            with pytest.raises(IntegrityError, match="told to fail") as failure:
                ask(link)
            assert failure.value.party in (f"party{party}", "party0")
            assert failure.value.session_id is not None
            wait_until(lambda: sum(status.sessions for status in link.status()) == 0)
            wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])


@pytest.mark.parametrize("settings", [Settings(leave_unread=3), Settings(expect_more=1)])
def test_a_program_that_breaks_its_word_is_refused(tmp_path: Path, keys: Path, settings: Settings) -> None:
    with (
        Cluster(tmp_path, keys, settings) as cluster,
        cluster.link() as link,
        pytest.raises(ProtocolError, match=r"not used|were expected"),
    ):
        ask(link)


def test_sessions_are_bounded_and_so_are_those_that_wait(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    settings = Settings(halt_at=1, gate=str(gate))
    options = {role: {"max_sessions": 1, "max_waiting": 1} for role in ("party0", "party1")}
    with Cluster(tmp_path, keys, settings, options) as cluster, cluster.link() as link:
        run = link.start(SHAPE, SHARES, Deadline.after(20))
        wait_until(gate.with_suffix(".reached").exists)
        waits = link.start(SHAPE, SHARES, Deadline.after(20))
        wait_until(lambda: [(one.sessions, one.waiting) for one in link.status()] == [(1, 1), (1, 1)])
        with pytest.raises(Overloaded, match=FULL) as failure:
            link.start(SHAPE, SHARES, Deadline.after(20)).result()
        assert failure.value.retry_after is not None
        assert not waits.sent
        gate.unlink()
        assert run.result()[:2] == waits.result()[:2] == SHARES
        ask(link)


def test_a_query_waits_for_the_preparation_that_is_on_its_way(
    tmp_path: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, dict[str, Any]] = {"party0": {"ahead": 1, "shapes": (SHAPE,)}}
    with Cluster(tmp_path, keys, Settings(deal_pause=0.3), options) as cluster, cluster.link() as link:
        wait_until(lambda: bool(list(tmp_path.glob("party0/*.part"))))
        ask(link)
        wait_until(lambda: all(status.ready.get(SHAPE) == 1 for status in link.status()))
    dealt = [line for line in capfd.readouterr().err.splitlines() if '"delivered"' in line]
    assert len(dealt) == 2  # the one that was used and the one that replaced it


def test_a_stopping_party_finishes_what_it_began(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    options: dict[str, dict[str, Any]] = {"party0": {"stop_seconds": 20}}
    settings = Settings(halt_at=1, gate=str(gate))
    with Cluster(tmp_path, keys, settings, options) as cluster, cluster.link() as link:
        run = link.start(SHAPE, SHARES, Deadline.after(20))
        wait_until(gate.with_suffix(".reached").exists)
        stopping = Thread(target=cluster.stop, args=("party0",))
        stopping.start()
        wait_until(lambda: _refuses(link))
        gate.unlink()
        assert run.result()[:2] == SHARES
        stopping.join()


def _refuses(link: Link) -> bool:
    """Whether a new query is refused; one that is admitted waits at the gate, and runs out of time."""
    try:
        ask(link, 0.3)
    except DeadlineExceeded:
        return False
    except (ConnectError, Overloaded):
        return True
    raise AssertionError("passed the gate")


def test_a_cancelled_query_frees_both_parties(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with Cluster(tmp_path, keys, Settings(halt_at=1, gate=str(gate))) as cluster, cluster.link() as link:
        run = link.start(SHAPE, SHARES, Deadline.after(20))
        wait_until(gate.with_suffix(".reached").exists)
        run.cancel()
        gate.unlink()
        wait_until(lambda: sum(status.sessions for status in link.status()) == 0)
        ask(link)
