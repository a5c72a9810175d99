"""What servers refuse, and go on serving: strangers, other programs, bad queries, a dealer that errs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
from dummy import Settings, says
from harness import SHAPE, SHARES, Cluster, ask, tls, wait_until
from sessions import generate, once

from privinf.config import ClientConfig
from privinf.errors import (
    ConnectError,
    DeadlineExceeded,
    InputError,
    MismatchError,
    Overloaded,
    PeerLost,
    PrivinfError,
    ProtocolError,
    Unauthenticated,
)
from privinf.keys import keygen
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import shape_message
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.parts import WHOLE_LIMIT
from privinf.parties.rpc.status import restore
from privinf.parties.serve import PartyServer
from privinf.parties.session.streams import PeerStream
from privinf.parties.stock.record import Record
from privinf.protocols.contract import Identity, QueryShape
from privinf.sdk.transport import Link
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

IDENTITY = Settings().identity
ID = bytes(16)


def call(peer: Peer, method: methods.Method, request: Any, timeout: float | None = 60.0) -> Any:
    """Make a call; raise what it failed with as ours."""
    try:
        reply = method.on(peer)(request, timeout=timeout, metadata=peer.metadata)
        return list(reply) if method.streams[1] else reply
    except grpc.RpcError as error:
        raise restore(error, peer.role) from error


def refused(cluster: Cluster, role: str, own: str, method: methods.Method, request: Any) -> PrivinfError:
    """Return the error of a call made with the certificate of `own`."""
    peer = dial(cluster.address(role), role, tls(cluster.keys, own), own)
    try:
        with pytest.raises(PrivinfError) as failure:
            call(peer, method, request)
        return failure.value
    finally:
        peer.channel.close()


CREATE = dealer_pb2.CreateRequest(identity=says("party0"), shape=shape_message(SHAPE), order=bytes(16))
FETCH = dealer_pb2.FetchRequest(preparation_id=ID, identity=says("party0"))
PREFETCH = party_pb2.PrefetchRequest(
    preparation_id=ID, identity=says("party0"), shape=shape_message(SHAPE), epoch=ID
)


@pytest.mark.parametrize(
    ("role", "method", "request_", "strangers"),
    [
        ("dealer", methods.CREATE, CREATE, ("party1", "client", "dealer")),
        ("dealer", methods.FETCH, FETCH, ("client", "dealer")),
        ("dealer", methods.DROP, dealer_pb2.DropRequest(preparation_id=ID), ("client", "dealer")),
        ("party1", methods.PREFETCH, PREFETCH, ("party1", "client", "dealer")),
        ("party1", methods.RECONCILE, party_pb2.ReconcileRequest(), ("party1", "client", "dealer")),
        ("party1", methods.SESSION, iter([b"frame"]), ("party1", "client", "dealer")),
        ("party0", methods.INFER, iter([]), ("party0", "party1", "dealer")),
        ("party0", methods.GENERATE, iter([]), ("party0", "party1", "dealer")),
        ("dealer", methods.PASSES, iter([]), ("client", "dealer")),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_call_is_for_its_role(
    cluster: Cluster, role: str, method: methods.Method, request_: Any, strangers: tuple[str, ...]
) -> None:
    for stranger in strangers:
        error = refused(cluster, role, stranger, method, request_)
        assert isinstance(error, Unauthenticated), stranger
        assert f"{stranger} may not call {method.name} on {role}" in str(error)


def test_party_0_answers_no_call_between_parties(cluster: Cluster) -> None:
    assert isinstance(refused(cluster, "party0", "party0", methods.PREFETCH, PREFETCH), MismatchError)


def test_a_certificate_of_another_authority_reaches_nobody(
    cluster: Cluster, keys: Path, foreign_keys: Path, tmp_path: Path
) -> None:
    trusting = replace(tls(foreign_keys, "client"), ca=keys / "ca.pem")  # knows us, is not known to us
    with Link(cluster.client(tls=trusting, connect_seconds=0.5)) as link, pytest.raises(ConnectError):
        link.connect()
    with Link(cluster.client(tls=tls(foreign_keys, "client"))) as link, pytest.raises(Unauthenticated):
        link.connect()
    with cluster.link() as link:
        ask(link)


def test_a_server_with_another_roles_certificate_is_no_party(cluster: Cluster) -> None:
    swapped = (cluster.address("party1"), cluster.address("party0"))
    with Link(cluster.client(parties=swapped)) as link, pytest.raises(Unauthenticated) as failure:
        link.connect()
    assert failure.value.party == "party0"


def test_a_certificate_of_two_roles_is_of_none(
    cluster: Cluster, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "privinf.parties.rpc.certificates.check_own", lambda *_: None
    )  # as another's client would
    both = tmp_path / "both"
    shutil.copytree(keys, both)
    _reissue(both, "client", "party0")
    peer = dial(cluster.address("party1"), "party1", tls(both, "client"), "client")
    with pytest.raises(Unauthenticated, match="no role, or more than one"):
        call(peer, methods.STATUS, party_pb2.StatusRequest())
    peer.channel.close()


def _reissue(folder: Path, role: str, other: str) -> None:
    """Sign a certificate for two roles with the authority's own key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    old = x509.load_pem_x509_certificate((folder / f"{role}.pem").read_bytes())
    names = x509.SubjectAlternativeName([x509.DNSName(role), x509.DNSName(other)])
    new = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(7)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )
    (folder / f"{role}.pem").write_bytes(new.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize("field", ["version", "protocol", "model_id", "plan_hash"])
@pytest.mark.parametrize("role", ["dealer", "party1", "party0"])
def test_a_role_with_another_program_is_named(tmp_path: Path, keys: Path, role: str, field: str) -> None:
    other = Settings(identity=replace(IDENTITY, **{field: "other"}))
    why = "runs the protocol '(echo|other)', not" if field == "protocol" else f"differs in {field}"
    with (
        Cluster(tmp_path, keys, each={role: other}) as cluster,
        cluster.link(IDENTITY) as link,
        pytest.raises(MismatchError, match=why),
    ):
        ask(link)


def test_a_task_that_the_model_has_no_part_for_is_refused(tmp_path: Path, keys: Path) -> None:
    """By every role, before anything is spent; what it has a part for is served."""
    with Cluster(tmp_path, keys, Settings(parts=("queries",))) as cluster, cluster.link() as link:
        with pytest.raises(InputError, match="this model does not generate"):
            once(link)
        ask(link)
    with Cluster(tmp_path, keys, Settings(parts=("sessions",))) as cluster, cluster.link() as link:
        with pytest.raises(InputError, match="this model does not answer single queries: it generates"):
            ask(link)
        for role, caller, method, request in (
            ("dealer", "party0", methods.CREATE, CREATE),
            ("party1", "party0", methods.PREFETCH, PREFETCH),
        ):
            error = refused(cluster, role, caller, method, request)
            assert isinstance(error, InputError)
            assert "does not answer single queries" in str(error)
        generate(link, 1)


@pytest.mark.parametrize(
    ("role", "whose"), [("dealer", "party0"), ("party1", "party0"), ("party0", "client")]
)
def test_a_role_that_says_it_has_anothers_folder_is_named(
    tmp_path: Path, keys: Path, role: str, whose: str
) -> None:
    with (
        Cluster(tmp_path, keys, each={role: Settings(whose=whose)}) as cluster,
        cluster.link(IDENTITY) as link,
        pytest.raises(MismatchError, match=f"{role} was started with {whose}'s folder"),
    ):
        ask(link)


@pytest.mark.parametrize("role", ["party0", "party1"])
def test_parties_compare_whose_folder_the_other_has(tmp_path: Path, keys: Path, role: str) -> None:
    """The client does not look here, so that only the session's first frame can tell."""
    with Cluster(tmp_path, keys, each={role: Settings(whose="dealer")}) as cluster:
        errors = []
        for party, future in enumerate([_infer(cluster, 0, IDENTITY), _infer(cluster, 1, IDENTITY)]):
            with pytest.raises(grpc.RpcError) as failure:
                list(future)
            errors.append(restore(failure.value, f"party{party}"))
        other = errors[1 if role == "party0" else 0]
        assert isinstance(other, MismatchError)
        assert f"{role} was started with dealer's folder" in str(other)
        assert not (tmp_path / "party0" / "spent.log").read_text()


def test_parties_compare_even_if_the_client_does_not(tmp_path: Path, keys: Path) -> None:
    """Each party is asked with its own identity, so that only the session's first frame can tell."""
    other = Settings(identity=replace(IDENTITY, plan_hash="other"))
    with Cluster(tmp_path, keys, each={"party1": other}) as cluster:
        calls = [_infer(cluster, 0, IDENTITY), _infer(cluster, 1, other.identity)]
        for role, future in zip(("party0", "party1"), calls, strict=True):
            with pytest.raises(grpc.RpcError) as failure:
                list(future)
            assert isinstance(restore(failure.value, role), MismatchError)
        assert not (tmp_path / "party0" / "spent.log").read_text()


def _infer(
    cluster: Cluster,
    party: int,
    identity: Identity,
    shape: QueryShape = SHAPE,
    session: bytes = ID,
    timeout: float = 60,
    chunks: Sequence[int] = (8,),
) -> Any:
    role = f"party{party}"
    peer = dial(cluster.address(role), role, tls(cluster.keys, "client"), "client")
    opened = party_pb2.InferOpen(
        session_id=session, identity=says("client", identity), shape=shape_message(shape)
    )
    parts = [party_pb2.InferRequest(open=opened), *map(_chunk, chunks)]
    future = methods.INFER.on(peer).future(iter(parts), timeout=timeout)
    future.add_done_callback(lambda _: Thread(target=peer.channel.close).start())
    return future


def test_parties_that_are_asked_different_shapes_spend_nothing(cluster: Cluster, tmp_path: Path) -> None:
    calls = [_infer(cluster, 0, IDENTITY), _infer(cluster, 1, IDENTITY, replace(SHAPE, tokens=9))]
    for role, future in zip(("party0", "party1"), calls, strict=True):
        with pytest.raises(grpc.RpcError) as failure:
            list(future)
        assert isinstance(restore(failure.value, role), MismatchError)
    assert not (tmp_path / "party0" / "spent.log").read_text()


def test_a_session_id_is_used_once(cluster: Cluster) -> None:
    for future in [_infer(cluster, 0, IDENTITY), _infer(cluster, 1, IDENTITY)]:
        list(future)
    with pytest.raises(grpc.RpcError) as failure:
        list(_infer(cluster, 0, IDENTITY))
    error = restore(failure.value, "party0")
    assert isinstance(error, ProtocolError)
    assert "used before" in str(error)


def _open(**changes: Any) -> party_pb2.InferRequest:
    fields: dict[str, Any] = {
        "session_id": ID,
        "identity": says("client"),
        "shape": shape_message(SHAPE),
    }
    return party_pb2.InferRequest(open=party_pb2.InferOpen(**fields | changes))


def _chunk(nbytes: int) -> party_pb2.InferRequest:
    return party_pb2.InferRequest(chunk=bytes(nbytes))


def _shape(task: str, batch: int, tokens: int) -> common_pb2.QueryShape:
    return common_pb2.QueryShape(task=task, batch=batch, tokens=tokens)


@pytest.mark.parametrize(
    ("requests", "kind"),
    [
        ([], ProtocolError),
        ([_chunk(8)], ProtocolError),
        ([_open(session_id=b"short"), _chunk(8)], ProtocolError),
        ([_open(identity=common_pb2.Identity()), _chunk(8)], MismatchError),
        ([_open(shape=_shape("", 1, 8)), _chunk(8)], InputError),
        ([_open(shape=_shape("echo", 0, 8)), _chunk(8)], InputError),
        ([_open(shape=_shape("other", 1, 8)), _chunk(8)], InputError),
        ([_open(shape=_shape("echo", 1, WHOLE_LIMIT + 1)), _chunk(8)], InputError),
    ],
)
def test_a_bad_query_is_refused(cluster: Cluster, requests: list[Any], kind: type[PrivinfError]) -> None:
    for role in ("party0", "party1"):
        assert type(refused(cluster, role, "client", methods.INFER, iter(requests))) is kind


@pytest.mark.parametrize("chunks", [[], [7], [9], [4, 5], [8, 1]])
def test_a_bad_share_is_refused(cluster: Cluster, chunks: list[int]) -> None:
    calls = [_infer(cluster, party, IDENTITY, chunks=chunks) for party in (0, 1)]
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
            call(peer, methods.INFER, iter([_open(), _chunk(8)]), timeout)
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
            link.run(replace(SHAPE, tokens=4), (bytes(4), bytes(4)), 10)
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
    return server.calls._store.coming()


def test_time_runs_out_in_the_phase_that_takes_too_long(tmp_path: Path, keys: Path) -> None:
    slow = Settings(deal_pause=4.0)
    with Cluster(tmp_path, keys, slow) as cluster, cluster.link() as link:
        link.connect()
        with pytest.raises(DeadlineExceeded) as failure:
            ask(link, deadline=3)
        assert failure.value.phase == "offline"
        with pytest.raises(DeadlineExceeded) as failure:
            ask(link, deadline=-1)
        assert failure.value.phase == "connect"


def test_each_party_names_the_phase_that_takes_too_long(tmp_path: Path, keys: Path) -> None:
    """Party 1 waits for party 0 meanwhile: that is no later phase, whether it hears party 0 end or the time does."""
    with Cluster(tmp_path, keys, Settings(deal_pause=3.0)) as cluster:
        calls = [_infer(cluster, party, IDENTITY, timeout=2) for party in range(2)]
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
        call(peer, methods.INFER, iter([_open(), _chunk(8)]), 0.5)
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


def test_without_tls_roles_are_claimed_and_a_warning_is_given(
    tmp_path: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = {"tls": None, "insecure_no_tls": True}
    options: dict[str, dict[str, Any]] = {role: dict(plain) for role in ("dealer", "party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster:
        parties = (cluster.address("party0"), cluster.address("party1"))
        with Link(ClientConfig(parties=parties, insecure_no_tls=True)) as link:
            ask(link)
        peer = dial(parties[0], "party0", None, "dealer")
        with pytest.raises(Unauthenticated):
            call(peer, methods.INFER, iter([_open(), _chunk(8)]))
        peer.channel.close()
        with cluster.link(connect_seconds=0.3) as link, pytest.raises((ConnectError, Unauthenticated)):
            link.connect()
    assert capfd.readouterr().err.count("WARNING: insecure_no_tls") == 4


@pytest.fixture
def one_host(tmp_path: Path) -> Path:
    """Return certificates for another machine's name."""
    keygen(tmp_path / "elsewhere", ["elsewhere.example"])
    return tmp_path / "elsewhere"


def test_the_role_is_what_a_certificate_must_prove(tmp_path: Path, one_host: Path) -> None:
    with Cluster(tmp_path, one_host) as cluster, cluster.link() as link:
        assert ask(link).parties[0].rounds == Settings().rounds
        assert link.run(SHAPE, SHARES)[:2] == SHARES
