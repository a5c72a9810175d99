"""What servers refuse, and go on serving: strangers, other programs, bad queries, a dealer that errs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from calling import CREATE, ID, IDENTITY, PREFETCH, call, chunk, infer, opening, refused, shape_of
from dummy import Settings, says
from harness import SHAPE, Cluster, ask, tls, wait_until

from privinf.errors import (
    ConnectError,
    DeadlineExceeded,
    InputError,
    MismatchError,
    Overloaded,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.parts import WHOLE_LIMIT
from privinf.parties.rpc.status import restore
from privinf.parties.serve import PartyServer
from privinf.parties.session.streams import PeerStream
from privinf.parties.stock.record import Record
from privinf.sdk.call import Call
from privinf.sdk.transport import Link
from privinf.v1 import common_pb2, dealer_pb2, party_pb2


def test_parties_that_are_asked_different_shapes_spend_nothing(cluster: Cluster, tmp_path: Path) -> None:
    calls = [infer(cluster, 0, IDENTITY), infer(cluster, 1, IDENTITY, replace(SHAPE, tokens=9))]
    for role, future in zip(("party0", "party1"), calls, strict=True):
        with pytest.raises(grpc.RpcError) as failure:
            list(future)
        assert isinstance(restore(failure.value, role), MismatchError)
    assert not (tmp_path / "party0" / "spent.log").read_text()


def test_a_session_id_is_used_once(cluster: Cluster) -> None:
    for future in [infer(cluster, 0, IDENTITY), infer(cluster, 1, IDENTITY)]:
        list(future)
    with pytest.raises(grpc.RpcError) as failure:
        list(infer(cluster, 0, IDENTITY))
    error = restore(failure.value, "party0")
    assert isinstance(error, ProtocolError)
    assert "used before" in str(error)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("requests", "kind"),
    [
        ([], ProtocolError),
        ([chunk(8)], ProtocolError),
        ([opening(session_id=b"short"), chunk(8)], ProtocolError),
        ([opening(identity=common_pb2.Identity()), chunk(8)], MismatchError),
        ([opening(shape=shape_of("", 1, 8)), chunk(8)], InputError),
        ([opening(shape=shape_of("echo", 0, 8)), chunk(8)], InputError),
        ([opening(shape=shape_of("other", 1, 8)), chunk(8)], InputError),
        ([opening(shape=shape_of("echo", 1, WHOLE_LIMIT + 1)), chunk(8)], InputError),
    ],
)
def test_a_bad_query_is_refused(cluster: Cluster, requests: list[Any], kind: type[PrivinfError]) -> None:
    for role in ("party0", "party1"):
        assert type(refused(cluster, role, "client", methods.INFER, iter(requests))) is kind


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("chunks", [[], [7], [9], [4, 5], [8, 1]])
def test_a_bad_share_is_refused(cluster: Cluster, chunks: list[int]) -> None:
    calls = [infer(cluster, party, IDENTITY, chunks=chunks) for party in (0, 1)]
    errors = [_failed(call, f"party{party}") for party, call in enumerate(calls)]
    assert any(
        type(error) is ProtocolError and re.search("this query has 8|bytes where 8 were due", str(error))
        for error in errors
    )
    with cluster.link() as link:
        ask(link)


def _failed(call: Any, role: str) -> PrivinfError:
    with pytest.raises(grpc.RpcError) as failure:
        list(call)
    return restore(failure.value, role)


@pytest.mark.parametrize("timeout", [None, 1e6])
def test_a_call_lasts_no_longer_than_the_server_says_whatever_its_deadline(
    tmp_path: Path, keys: Path, timeout: float | None
) -> None:
    with Cluster(tmp_path, keys, options={"party0": {"max_seconds": 0.3}}) as cluster:
        peer = dial(cluster.address("party0"), "party0", tls(keys, "client"), "client")
        with pytest.raises(DeadlineExceeded):
            call(peer, methods.INFER, iter([opening(), chunk(8)]), timeout)
        peer.channel.close()


def _without_party1(cluster: Cluster) -> None:
    cluster.stop("party1")


def _without_dealer(cluster: Cluster) -> None:
    cluster.stop("dealer")


@pytest.mark.parametrize(("role", "lose"), [("party1", _without_party1), ("dealer", _without_dealer)])
def test_who_cannot_be_reached_is_named(cluster: Cluster, role: str, lose: Callable[[Cluster], None]) -> None:
    with cluster.link() as link:
        ask(link)
        lose(cluster)
        with pytest.raises(ConnectError) as failure:
            ask(link)
        assert failure.value.party == role
        cluster.start(role)
        wait_until(lambda: _answers(link))


def _answers(link: Link) -> bool:
    try:
        ask(link)
    except ConnectError:
        return False
    return True


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_dealer_that_miscounts_costs_the_query(tmp_path: Path, keys: Path, surplus: int) -> None:
    """It says what parties expect, and deals something else."""
    erring = {"dealer": Settings(deal_too_many=surplus)}
    with Cluster(tmp_path, keys, each=erring) as cluster, cluster.link() as link:
        with pytest.raises(ProtocolError, match="than its sizes say"):
            ask(link)
        wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])


def test_a_dealer_with_other_sizes_is_refused(tmp_path: Path, keys: Path) -> None:
    with (
        Cluster(tmp_path, keys, each={"dealer": Settings(extra=999)}) as cluster,
        cluster.link() as link,
        pytest.raises(MismatchError, match="size of a preparation"),
    ):
        ask(link)


@pytest.mark.parametrize("role", ["party0", "party1"])
def test_a_full_store_is_an_overload_of_that_party(tmp_path: Path, keys: Path, role: str) -> None:
    with (
        Cluster(tmp_path, keys, options={role: {"max_store_bytes": 1000}}) as cluster,
        cluster.link() as link,
    ):
        with pytest.raises(Overloaded, match="do not fit into the store") as failure:
            ask(link)
        assert failure.value.party in (role, "party0")
        wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])


def test_a_full_store_costs_the_dealer_nothing(tmp_path: Path, keys: Path) -> None:
    """Its only place for a job is still free when the store has room again."""
    options: dict[str, dict[str, Any]] = {
        "party0": {"max_store_count": 1, "ahead": 1, "shapes": (SHAPE,)},
        "dealer": {"max_jobs": 1},
    }
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        wait_until(lambda: link.status()[1].ready.get(SHAPE) == 1)
        with pytest.raises(Overloaded, match="already holds 1"):
            link.run(replace(SHAPE, tokens=4), (bytes(4), bytes(4)), Call(10))
        ask(link)
        wait_until(lambda: link.status()[1].ready.get(SHAPE) == 1)


@pytest.mark.parametrize("epoch", [ID, b"another epoch..."])
def test_what_party_0_gave_up_is_burnt_while_party_1_fetches_it(
    tmp_path: Path, keys: Path, epoch: bytes
) -> None:
    with Cluster(tmp_path, keys, Settings(deal_pause=0.5)) as cluster:
        cluster.stop("party0")
        dealer, party1 = (
            dial(cluster.address(role), role, tls(keys, "party0"), "party0") for role in ("dealer", "party1")
        )
        created = call(dealer, methods.CREATE, CREATE)
        request = party_pb2.PrefetchRequest()
        request.CopyFrom(PREFETCH)
        request.preparation_id = created.preparation_id
        fetch = dealer_pb2.FetchRequest(preparation_id=created.preparation_id, identity=says("party0"))
        ours = methods.FETCH.on(dealer)(fetch, timeout=10)
        prefetched = methods.PREFETCH.on(party1).future(request, timeout=10)
        wait_until(lambda: bool(_coming(cluster)))
        gone = [created.preparation_id] if epoch == ID else []
        call(party1, methods.RECONCILE, party_pb2.ReconcileRequest(epoch=epoch, gone=gone))
        with pytest.raises(grpc.RpcError) as failure:
            prefetched.result()
        assert "given up while it came" in str(restore(failure.value, "party1"))
        ours.cancel()
        assert created.preparation_id.hex() in (tmp_path / "party1" / "spent.log").read_text()
        assert not list(tmp_path.glob("party1/*.prep*"))
        for peer in (dealer, party1):
            peer.channel.close()


def _coming(cluster: Cluster) -> list[Record]:
    server = cluster.servers["party1"]
    assert isinstance(server, PartyServer)
    return server.calls._supply.store.coming()


def test_time_runs_out_in_the_phase_that_takes_too_long(tmp_path: Path, keys: Path) -> None:
    slow = Settings(deal_pause=4.0)
    with Cluster(tmp_path, keys, slow) as cluster, cluster.link() as link:
        link.connect()
        with pytest.raises(DeadlineExceeded) as failure:
            ask(link, deadline=2)
        assert failure.value.phase == "offline"
        with pytest.raises(DeadlineExceeded) as failure:
            ask(link, deadline=1e-9)
        assert failure.value.phase == "connect"


@pytest.mark.slow
def test_each_party_names_the_phase_that_takes_too_long(tmp_path: Path, keys: Path) -> None:
    """Party 1 waits for party 0 meanwhile: that is no later phase, whether it hears party 0 end or the time does."""
    with Cluster(tmp_path, keys, Settings(deal_pause=3.0)) as cluster:
        calls = [infer(cluster, party, IDENTITY, timeout=2) for party in range(2)]
        for role, future in zip(("party0", "party1"), calls, strict=True):
            with pytest.raises(grpc.RpcError) as failure:
                list(future)
            error = restore(failure.value, role)
            assert isinstance(error, PeerLost) or getattr(error, "phase", "") == "offline", role


@pytest.mark.parametrize("phase", ["connect", "offline", "online"])
def test_a_wait_for_the_other_party_is_of_the_phase_it_is_in(phase: str) -> None:
    def broken() -> Iterator[bytes]:
        raise grpc.RpcError
        yield b""

    stream = PeerStream(broken(), Outgoing(), "party0", lambda: None)
    stream.live(Life(Deadline.after(-1)), 1.0)
    stream.phase = phase
    with pytest.raises(DeadlineExceeded, match=phase) as failure:
        next(stream)
    assert failure.value.phase == phase


def test_a_query_that_reaches_one_party_alone_spends_nothing(cluster: Cluster, tmp_path: Path) -> None:
    peer = dial(cluster.address("party0"), "party0", tls(cluster.keys, "client"), "client")
    with pytest.raises(DeadlineExceeded):
        call(peer, methods.INFER, iter([opening(), chunk(8)]), 0.5)
    peer.channel.close()
    assert not (tmp_path / "party0" / "spent.log").read_text()
    with cluster.link() as link:
        ask(link)


def test_a_preparation_is_fetched_once_even_by_a_party(cluster: Cluster, keys: Path) -> None:
    peers = {
        role: dial(cluster.address("dealer"), "dealer", tls(keys, role), role)
        for role in ("party0", "party1")
    }
    created = call(peers["party0"], methods.CREATE, CREATE)
    requests = {
        role: dealer_pb2.FetchRequest(preparation_id=created.preparation_id, identity=says(role))
        for role in peers
    }
    with ThreadPoolExecutor(2) as pool:
        fetched = {
            role: pool.submit(call, peer, methods.FETCH, requests[role]) for role, peer in peers.items()
        }
    streams = {role: b"".join(future.result()) for role, future in fetched.items()}
    assert {len(stream) for stream in streams.values()} == {32 + created.bytes0 + 32}
    assert streams["party0"][:32] != streams["party1"][:32]
    for role, peer in peers.items():
        with pytest.raises(ProtocolError, match="unknown here"):
            call(peer, methods.FETCH, requests[role])
        peer.channel.close()
