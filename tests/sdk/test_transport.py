"""The client's transport: typed errors that say who and which session, and no more than it needs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from async_link import AsyncLink
from dummy import Settings
from harness import SHAPE, SHARES, Cluster, ask, tls, wait_until
from sessions import SESSION

from privinf.config import ClientConfig
from privinf.errors import (
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    MismatchError,
    PartyError,
    PeerLost,
    PrivinfError,
)
from privinf.parties.rpc.deadline import Deadline
from privinf.protocols.contract import Identity
from privinf.sdk import query
from privinf.sdk.call import Call
from privinf.sdk.transport import Link

QUERY = """
import sys
for name in ("torch", "transformers", "numpy", "prometheus_client", "grpc_health"):
    sys.modules[name] = None  # importing it fails
from privinf.config import ClientConfig
from privinf.settings import load
from privinf.protocols.contract import QueryShape
from privinf.sdk.transport import Link
with Link(load(ClientConfig)) as link:
    first, second, stats = link.run(QueryShape("echo", 1, 8), (b"share  0", b"share  1"))
    print(first.decode(), second.decode(), stats.parties[0].rounds)
"""


def test_a_link_needs_neither_numpy_nor_what_servers_need(cluster: Cluster) -> None:
    own = tls(cluster.keys, "client")
    environ = {
        "PRIVINF_PARTIES": f"{cluster.address('party0')},{cluster.address('party1')}",
        "PRIVINF_CA": str(own.ca),
        "PRIVINF_CERT": str(own.cert),
        "PRIVINF_KEY": str(own.key),
        "PYTHONPATH": ":".join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-c", QUERY], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["share", "0", "share", "1", "3"], done.stderr


def test_whoever_waits_hears_of_whatever_goes_wrong(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares are cut by threads of our own: none of them may leave a query waiting."""

    def full(share: object) -> Iterator[bytes]:
        raise MemoryError

    with cluster.link() as link:
        with pytest.raises(ValueError, match="argument"):
            link.run(SHAPE, SHARES[:1])
        monkeypatch.setattr(query, "chunks", full)
        with pytest.raises(PartyError, match="MemoryError"):
            link.run(SHAPE, SHARES)


def test_an_unreachable_party_is_named(cluster: Cluster) -> None:
    parties = (cluster.address("party0"), "127.0.0.1:9")
    with Link(cluster.client(parties=parties, connect_seconds=3.0)) as link:
        with pytest.raises(ConnectError) as failure:
            ask(link)
        assert failure.value.party == "party1"


def test_a_query_reaches_the_parties_within_its_own_deadline(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of a query, or the wait of a generation, is less than what connecting may take."""
    asked = list[float]()

    def reach(self: Link, peer: object, seconds: float, deadline: Deadline) -> Identity:
        asked.extend((seconds, deadline.left("connect")))
        raise ConnectError("nobody there")

    monkeypatch.setattr(Link, "_reach", reach)
    with cluster.link(connect_seconds=600.0) as link:
        with pytest.raises(ConnectError):
            ask(link, deadline=5.0)
        with pytest.raises(ConnectError):
            link.generate(SESSION, Call(5.0))
        assert max(asked) <= 5.0
        with pytest.raises(DeadlineExceeded, match="connect"):
            ask(link, deadline=1e-9)


def test_a_link_is_closed_once_and_used_no_more(cluster: Cluster) -> None:
    link = cluster.link()
    ask(link)
    link.close()
    link.close()
    for use in (link.connect, link.status, lambda: ask(link)):
        with pytest.raises(ConnectError, match="closed"):
            use()


def test_an_identity_that_was_asked_for_must_be_served(cluster: Cluster) -> None:
    other = Identity("1", "echo", "another", "plan")
    with cluster.link(other) as link, pytest.raises(MismatchError, match="differs in model_id"):
        ask(link)
    with cluster.link(Settings().identity) as link:
        assert link.connect() == replace(Settings().identity, role="client")


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.pem cannot be read"):
        Link(ClientConfig(parties=("a:1", "b:1"), tls=tls(tmp_path, "client")))
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(ConfigError, match="is not a PEM file"):
        Link(ClientConfig(parties=("a:1", "b:1"), tls=tls(tmp_path, "client")))


def test_a_link_that_is_closed_under_a_query_ends_it(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with Cluster(tmp_path, keys, Settings(halt_at=1, gate=str(gate))) as cluster:
        link = cluster.link()
        run = link.start(SHAPE, SHARES, Deadline.after(20))
        wait_until(gate.with_suffix(".reached").exists)
        failures: list[PrivinfError] = []

        def wait() -> None:
            try:
                run.result()
            except PrivinfError as error:
                failures.append(error)

        waiting = Thread(target=wait)
        waiting.start()
        link.close()
        waiting.join(10)
        assert isinstance(failures[0], PeerLost)
        assert failures[0].session_id is not None
        gate.unlink()


def test_asyncio(cluster: Cluster) -> None:
    async def several() -> None:
        async with AsyncLink(cluster.client()) as link:
            answers = await asyncio.gather(*(link.run(SHAPE, SHARES, 10) for _ in range(4)))
            assert {answer[:2] for answer in answers} == {SHARES}
            assert len({answer[2].session_id for answer in answers}) == 4
            assert [status.sessions for status in link.link.status()] == [0, 0]

    asyncio.run(several())


def test_a_cancelled_task_drops_its_query(tmp_path: Path, keys: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()

    async def cancelled(cluster: Cluster) -> None:
        async with AsyncLink(cluster.client()) as link:
            task = asyncio.create_task(link.run(SHAPE, SHARES, 20))
            await asyncio.to_thread(wait_until, gate.with_suffix(".reached").exists)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with Cluster(tmp_path, keys, Settings(halt_at=1, gate=str(gate))) as cluster:
        asyncio.run(cancelled(cluster))
        gate.unlink()
        with cluster.link() as link:
            wait_until(lambda: sum(status.sessions for status in link.status()) == 0)
            ask(link)
