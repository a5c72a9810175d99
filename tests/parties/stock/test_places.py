"""The dealer's places: whatever fails, they are back at their start, and no party orders more than there are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from dummy import DummyDealer, Settings, says
from harness import SHAPE, Cluster, ask, tls, wait_until
from sessions import SESSION, SHARES, freed, generate

from privinf.config import DealerConfig
from privinf.errors import ConnectError, DeadlineExceeded, Overloaded, PeerLost, PrivinfError
from privinf.parties.dealing.dealer import DealerCalls
from privinf.parties.logs import Log
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import session_shape_message, shape_message
from privinf.parties.rpc.status import restore
from privinf.parties.serve import DealerServer
from privinf.parties.stock.places import Places
from privinf.protocols.contract import Advance
from privinf.v1 import dealer_pb2

ONE: dict[str, dict[str, Any]] = {"dealer": {"max_jobs": 1, "max_sessions": 1}}


def jobs(cluster: Cluster) -> int:
    """Return how many places of the dealer are taken."""
    server = cluster.servers["dealer"]
    assert isinstance(server, DealerServer)
    return server.calls.jobs.count


@contextmanager
def playing(cluster: Cluster, role: str) -> Iterator[Peer]:
    """Reach the dealer with the certificate of a role."""
    peer = dial(cluster.address("dealer"), "dealer", tls(cluster.keys, role), role)
    yield peer
    peer.channel.close()


def ordered(dealer: Peer) -> bytes:
    """Order a preparation as party 0, and do no more about it."""
    request = dealer_pb2.CreateRequest(
        identity=says("party0"), shape=shape_message(SHAPE), order=os.urandom(16)
    )
    return bytes(methods.CREATE.on(dealer)(request, timeout=30).preparation_id)


def test_a_party_that_cannot_fetch_costs_no_place(tmp_path: Path, keys: Path) -> None:
    """As a party whose channel has not yet found a dealer that was started again."""
    options = {"party1": {"dealer": "127.0.0.1:1"}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        for _ in range(12):
            with pytest.raises(ConnectError):
                ask(link)
        wait_until(lambda: jobs(cluster) == 0)
        assert [status.store_bytes for status in link.status()] == [0, 0]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("full", ["party0", "party1"])
def test_a_full_disk_at_one_party_costs_no_place(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    allocate = os.posix_fallocate

    def short(descriptor: int, offset: int, nbytes: int) -> None:
        if full in Path(os.readlink(f"/proc/self/fd/{descriptor}")).parts:
            raise OSError(errno.ENOSPC, "full")
        allocate(descriptor, offset, nbytes)

    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", short)
            for _ in range(12):
                with pytest.raises(Overloaded, match="disk"):
                    ask(link)
        wait_until(lambda: jobs(cluster) == 0)
        ask(link)


def test_what_nobody_fetches_gives_its_place_back(tmp_path: Path, keys: Path) -> None:
    options = {"dealer": {"come_seconds": 0.2}}
    with Cluster(tmp_path, keys, options=options) as cluster, playing(cluster, "party0") as dealer:
        ordered(dealer)
        wait_until(lambda: jobs(cluster) == 0)


@pytest.mark.parametrize("role", ["party0", "party1"])
def test_a_party_that_fetches_alone_is_told_who_did_not_come(tmp_path: Path, keys: Path, role: str) -> None:
    options = {"dealer": {"max_jobs": 1, "come_seconds": 2.0}}
    with Cluster(tmp_path, keys, options=options) as cluster:
        with playing(cluster, "party0") as dealer, playing(cluster, role) as own:
            request = dealer_pb2.FetchRequest(preparation_id=ordered(dealer), identity=says(role))
            with pytest.raises(grpc.RpcError) as failure:
                list(methods.FETCH.on(own)(request, timeout=30))
            other = "party1" if role == "party0" else "party0"
            assert restore(failure.value, "dealer").party == other
        wait_until(lambda: jobs(cluster) == 0)


@pytest.mark.parametrize("role", ["party0", "party1"])
def test_what_a_party_drops_is_over_for_the_other(tmp_path: Path, keys: Path, role: str) -> None:
    other = "party1" if role == "party0" else "party0"
    with (
        Cluster(tmp_path, keys) as cluster,
        playing(cluster, "party0") as dealer,
        playing(cluster, role) as own,
        playing(cluster, other) as waiting,
    ):
        preparation_id = ordered(dealer)
        request = dealer_pb2.FetchRequest(preparation_id=preparation_id, identity=says(other))
        stream = methods.FETCH.on(waiting)(request, timeout=30)
        methods.DROP.on(own)(dealer_pb2.DropRequest(preparation_id=preparation_id), timeout=30)
        with pytest.raises(grpc.RpcError):
            list(stream)
        assert jobs(cluster) == 0


class Over:
    """A call that is over when its handler runs."""

    def add_callback(self, callback: Any) -> bool:
        return False


def test_a_fetch_that_is_over_when_it_begins_costs_no_place() -> None:
    calls = DealerCalls(DealerConfig(insecure_no_tls=True), DummyDealer().program(), Log("dealer"))
    context = cast(grpc.ServicerContext, Over())
    create = dealer_pb2.CreateRequest(identity=says("party0"), shape=shape_message(SHAPE), order=bytes(16))
    created = calls.create(create, context, "party0")
    fetch = dealer_pb2.FetchRequest(preparation_id=created.preparation_id, identity=says("party1"))
    with pytest.raises(PeerLost, match="party1 stopped fetching"):
        list(calls.fetch(fetch, context, "party1"))
    assert calls.jobs.count == 0


def test_a_party_orders_no_more_than_the_dealer_holds(tmp_path: Path, keys: Path) -> None:
    with (
        Cluster(tmp_path, keys, Settings(deal_pause=0.02), ONE) as cluster,
        cluster.link() as link,
        ThreadPoolExecutor(6) as pool,
    ):
        list(pool.map(lambda _: ask(link), range(18)))
        wait_until(lambda: jobs(cluster) == 0)


def test_a_generation_waits_for_a_place_at_the_dealer(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, options=ONE) as cluster, cluster.link() as link:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: generate(link, 2), range(6)))
        freed(cluster)


def test_a_client_that_leaves_waits_for_no_place(tmp_path: Path, keys: Path) -> None:
    with Cluster(tmp_path, keys, options=ONE) as cluster, cluster.link() as link:
        with link.generate(SESSION) as first:
            first.step(Advance(), SHARES)
            with ThreadPoolExecutor(1) as pool, cluster.link(deadline=60) as leaving:
                second = pool.submit(leaving.generate, SESSION)
                wait_until(lambda: link.status()[0].sessions == 2)
                leaving.close()
                assert isinstance(second.exception(30), PrivinfError)
            wait_until(lambda: [status.sessions for status in link.status()] == [1, 1])
            assert first.step(Advance.first(1), SHARES)[:2] == SHARES
        freed(cluster)


def test_a_generation_that_party_1_does_not_join_ends(tmp_path: Path, keys: Path) -> None:
    options = {"dealer": {"come_seconds": 0.2}}
    with Cluster(tmp_path, keys, options=options) as cluster, playing(cluster, "party0") as dealer:
        opened = dealer_pb2.PassesOpen(identity=says("party0"), begin=session_shape_message(SESSION))
        requests = [dealer_pb2.PassesRequest(open=opened)]
        with pytest.raises(grpc.RpcError) as failure:
            list(methods.PASSES.on(dealer)(iter(requests), timeout=30))
        assert restore(failure.value, "dealer").party == "party1"
        freed(cluster)


def test_places_are_as_many_as_the_dealer_says() -> None:
    places, soon = Places(), Deadline.after(0.05)
    first = places.take(soon)
    places.take(soon)  # not known yet how many there are
    places.learn(1)
    with pytest.raises(DeadlineExceeded, match="offline"):
        places.take(soon)
    for _ in range(2):
        first()  # said again, it is nothing
    assert places._taken == 1
    places.learn(2)
    with places.hold(Life(Deadline.after(5))):
        assert places._taken == 2
    assert places._taken == 1
