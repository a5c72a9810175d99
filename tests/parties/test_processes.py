"""Three processes with TLS, and each of them killed in the middle of a query."""

from __future__ import annotations

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dummy import Settings
from harness import SHAPE, SHARES, Processes, ask, wait_until

from privinf.errors import ConnectError, Overloaded, PrivinfError
from privinf.parties.rpc.deadline import Deadline
from privinf.sdk.transport import Link

pytestmark = pytest.mark.processes
DEADLINE = 120.0


def _recovers(link: Link) -> None:
    """Ask until the channels have found the restarted server; every failure on the way is a typed one."""

    def answered() -> bool:
        try:
            ask(link)
        except ConnectError:
            return False
        return True

    wait_until(answered)


def test_processes_answer_stop_in_good_order_and_refuse_what_was_spent(tmp_path: Path, keys: Path) -> None:
    with Processes(tmp_path, keys) as running:
        with running.link() as link:
            for _ in range(2):
                ask(link)
        for role in ("party0", "party1"):
            assert running.nodes[role].stop() == 0
            running.nodes[role].start()
        with running.link() as link:
            ask(link)
        assert [running.nodes[role].stop() for role in ("party0", "party1", "dealer")] == [0, 0, 0]
    spent = [(tmp_path / f"store{party}" / "spent.log").read_text().split() for party in (0, 1)]
    assert len(set(spent[0])) == 3
    assert spent[0] == spent[1]
    events = [json.loads(line) for line in (tmp_path / "party0.log").read_text().splitlines()]
    assert {event["role"] for event in events} == {"party0"}
    assert [event["event"] for event in events].count("answered") == 3


@pytest.mark.parametrize(("full", "in_memory"), [("party0", False), ("party1", False), ("party1", True)])
def test_a_disk_that_is_full_for_a_while_is_told_and_forgotten(
    tmp_path: Path, keys: Path, full: str, in_memory: bool
) -> None:
    """Two clients ask on while a party can write no file at all, its log included, and are told; then it answers."""
    with (
        Processes(tmp_path, keys, in_memory=in_memory) as running,
        running.link() as link,
        running.link() as other,
    ):
        ask(link)
        node = running.nodes[full].process.pid
        soft, hard = resource.prlimit(node, resource.RLIMIT_FSIZE)
        resource.prlimit(node, resource.RLIMIT_FSIZE, (0, hard))
        with ThreadPoolExecutor(2) as pool:
            for asked in [pool.submit(ask, each) for _ in range(12) for each in (link, other)]:
                with pytest.raises(Overloaded, match="disk"):
                    asked.result(60)
        resource.prlimit(node, resource.RLIMIT_FSIZE, (soft, hard))
        for each in (link, other):
            ask(each)  # at once: nothing that failed holds a place


@pytest.mark.parametrize(("victim", "in_memory"), [("party0", False), ("party1", False), ("party1", True)])
def test_a_party_killed_in_a_round(tmp_path: Path, keys: Path, victim: str, in_memory: bool) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    settings = Settings(halt_at=1, halt_party=int(victim[-1]), gate=str(gate))
    with Processes(tmp_path, keys, settings, in_memory=in_memory) as running, running.link() as link:
        run = link.start(SHAPE, SHARES, Deadline.after(DEADLINE))
        wait_until(gate.with_suffix(".reached").exists)
        running.nodes[victim].kill()
        with pytest.raises(ConnectError) as failure:  # on the break of the stream, not by the deadline
            run.result()
        assert failure.value.party == victim
        assert failure.value.session_id is not None
        gate.unlink()
        running.nodes[victim].start()
        _recovers(link)
        survivor = running.nodes["party1" if victim == "party0" else "party0"]
        assert survivor.process.poll() is None
    spent = [(tmp_path / f"store{party}" / "spent.log").read_text().split() for party in (0, 1)]
    assert len(set(spent[0])) == len(spent[0])
    assert len(set(spent[1])) == len(spent[1])
    assert spent[0][0] in spent[1]  # also of the one that was killed: the system had its log
    assert not list(tmp_path.glob("store?/*.prep*"))


@pytest.mark.parametrize("in_memory", [False, True], ids=["disk", "memory"])
def test_the_dealer_killed_while_it_deals(tmp_path: Path, keys: Path, in_memory: bool) -> None:
    settings = Settings(deal_pause=20, rounds=2, round_bytes=3 << 20)
    with Processes(tmp_path, keys, settings, in_memory=in_memory) as running, running.link() as link:
        run = link.start(SHAPE, SHARES, Deadline.after(DEADLINE))
        wait_until(lambda: link.status()[1].store_bytes > 0)
        assert bool(list(tmp_path.glob("store1/*.part"))) != in_memory
        running.nodes["dealer"].kill()
        with pytest.raises(ConnectError) as failure:
            run.result()
        assert failure.value.party == "dealer"
        running.nodes["dealer"].settings = Settings(rounds=2, round_bytes=3 << 20)
        running.nodes["dealer"].start()
        _recovers(link)
        wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])


def test_a_server_that_cannot_start_says_why(tmp_path: Path, keys: Path) -> None:
    with Processes(tmp_path, keys) as running:
        taken = running.nodes["party1"].address
        node = running.nodes["party0"]
        node.stop()
        node.port = int(taken.rpartition(":")[2])
        with pytest.raises(AssertionError, match="cannot listen on"):
            node.start()
        node._reap()
        assert not isinstance(running.nodes["party1"].process.poll(), int)
        with running.link(connect_seconds=0.2) as link, pytest.raises(PrivinfError):
            link.connect()
