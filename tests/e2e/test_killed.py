"""A party killed in the middle of a query: a typed error, and the others go on once it is back."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import toy
from deployment import DEADLINE, Deployment, of_processes, start_again

from privinf import local as local_module
from privinf.errors import ConnectError
from privinf.local import LocalParties
from privinf.sdk.answers import Embeddings
from privinf.sdk.client import Client

pytestmark = pytest.mark.processes
LONG = ["the night is long and the sea is deep, " * 3] * 12  # seconds, two thirds of them preparation


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def local(shared: Path, work: Path) -> Iterator[LocalParties]:
    """Return processes that a test may kill, if it starts them again."""
    with LocalParties(shared, work) as local:
        yield local


@pytest.fixture
def deployment(encoder: Path, shared: Path, local: LocalParties) -> Deployment:
    return of_processes(encoder, shared, local)


def _spent(work: Path, role: str) -> int:
    """Preparations that a party has begun to use."""
    log = work / f"{role}-store" / "spent.log"
    return len(log.read_text().split()) if log.exists() else 0


def _until_answered(client: Client) -> Embeddings:
    """Ask until the channels have found the new process; every failure on the way names a connection."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            return client.embed(toy.TEXTS)
        except ConnectError:
            assert time.monotonic() < until, "never answered again"


@pytest.mark.parametrize("victim", ["party0", "party1"])
def test_killed_in_a_round(local: LocalParties, deployment: Deployment, work: Path, victim: str) -> None:
    survivors = {role: node.process for role, node in local.nodes.items() if role != victim}
    with deployment.client() as client, ThreadPoolExecutor(1) as pool:
        before = _spent(work, victim)
        asked = pool.submit(client.embed, LONG)
        while _spent(work, victim) == before:
            assert not asked.done()
            time.sleep(0.002)
        local.nodes[victim].process.kill()
        with pytest.raises(ConnectError) as caught:  # not DeadlineExceeded: it was not waited for
            asked.result(DEADLINE)
        assert caught.value.party == victim
        assert caught.value.session_id is not None
        local.nodes[victim].process.wait()
        start_again(local.nodes[victim])
        vectors = _until_answered(client).vectors
    assert np.min((vectors * toy.clear(deployment.source, toy.TEXTS)).sum(axis=-1)) > 0.9999
    assert [role for role, process in survivors.items() if process.poll() is not None] == []


def test_the_dealer_killed_while_it_deals(local: LocalParties, deployment: Deployment, work: Path) -> None:
    with deployment.client() as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.embed, LONG)
        while not client.status()[1].store_bytes:
            assert not asked.done()
            time.sleep(0.002)
        local.nodes["dealer"].process.kill()
        with pytest.raises(ConnectError) as caught:
            asked.result(DEADLINE)
        assert caught.value.party == "dealer"
        local.nodes["dealer"].process.wait()
        start_again(local.nodes["dealer"])
        assert len(_until_answered(client)) == len(toy.TEXTS)
        assert [status.store_bytes for status in client.status()] == [0, 0]


def test_a_port_that_is_taken_meanwhile_is_chosen_anew(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ports are chosen before servers start, and another process may be faster."""
    chosen, usual = [], local_module._free_address
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def free_address() -> str:
            chosen.append(usual())
            return f"127.0.0.1:{taken.getsockname()[1]}" if len(chosen) == 3 else chosen[-1]

        monkeypatch.setattr(local_module, "_free_address", free_address)
        with LocalParties(shared, tmp_path / "work") as started:
            assert len(chosen) == 6
            started.require_alive()
