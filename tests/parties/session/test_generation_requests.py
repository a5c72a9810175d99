"""Requests of a generation as they come over the wire: what is out of place is refused, by a typed error."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from dummy import Settings, says
from harness import SHAPE, Cluster, tls
from sessions import SESSION, freed, generate

from privinf.errors import (
    ConfigError,
    DeadlineExceeded,
    InputError,
    MismatchError,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import dial
from privinf.parties.rpc.messages import session_shape_message, shape_message
from privinf.parties.rpc.status import restore
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

IDENTITY = Settings().identity
ID = bytes(16)


class BaseClient:
    """A client that tells each party what it likes."""

    def __init__(self, cluster: Cluster, session: bytes | None = None) -> None:
        self.session = session or os.urandom(16)
        self.peers = [
            dial(cluster.address(role), role, tls(cluster.keys, "client"), "client")
            for role in ("party0", "party1")
        ]

    def __enter__(self) -> BaseClient:
        return self

    def __exit__(self, *error: object) -> None:
        for peer in self.peers:
            peer.channel.close()

    def opened(self, **changes: Any) -> party_pb2.GenerateRequest:
        """Return an opening."""
        fields: dict[str, Any] = {
            "session_id": self.session,
            "identity": says("client"),
            "shape": session_shape_message(SESSION),
        }
        return party_pb2.GenerateRequest(open=party_pb2.GenerateOpen(**fields | changes))

    def ask(self, *scripts: list[party_pb2.GenerateRequest]) -> list[PrivinfError | None]:
        """Send a script to each party; return what each call ends with."""
        calls = [
            methods.GENERATE.on(peer)(iter(script), timeout=60)
            for peer, script in zip(self.peers, scripts, strict=True)
        ]
        return [_ended(call, f"party{party}") for party, call in enumerate(calls)]

    def infer(self, party: int) -> Any:
        """Ask one party a query in the same session."""
        opened = party_pb2.InferOpen(
            session_id=self.session, identity=says("client"), shape=shape_message(SHAPE)
        )
        parts = [party_pb2.InferRequest(open=opened), party_pb2.InferRequest(chunk=bytes(8))]
        return methods.INFER.on(self.peers[party]).future(iter(parts), timeout=60)


def _ended(call: Any, role: str) -> PrivinfError | None:
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return restore(error, role)
    return None


def expect(errors: list[PrivinfError | None], kind: type[PrivinfError], text: str = "") -> None:
    """See that one party at least says what is wrong; the other may know no more than that it was left."""
    told = [error for error in errors if type(error) is kind and text in str(error)]
    assert told, errors
    assert all(type(error) in (kind, PeerLost) for error in errors), errors


def step(index: int, kept: int = 0, after: Sequence[int] = ()) -> party_pb2.GenerateRequest:
    """Return the opening of a pass."""
    return party_pb2.GenerateRequest(step=party_pb2.PassOpen(index=index, kept=range(kept), after=after))


def batched(batch: int) -> common_pb2.SessionShape:
    """Return the shape of so many prompts."""
    return session_shape_message(replace(SESSION, batch=batch))


def chunk(nbytes: int) -> party_pb2.GenerateRequest:
    """Return a part of a share."""
    return party_pb2.GenerateRequest(chunk=bytes(nbytes))


@pytest.fixture
def asker(cluster: Cluster) -> Iterator[BaseClient]:
    """Return a client of servers that must be free of everything in the end."""
    with BaseClient(cluster) as made:
        yield made
        freed(cluster)
        with cluster.link() as link:
            generate(link, 2)


def test_a_raw_generation_in_good_order(asker: BaseClient) -> None:
    right = [asker.opened(), step(0), chunk(16), step(1, 2), chunk(16)]
    assert asker.ask(right, right) == [None, None]


@pytest.mark.parametrize("sizes", [(7, 9), (0,), (16, 0)])
def test_a_share_that_comes_in_crumbs(asker: BaseClient, sizes: tuple[int, ...]) -> None:
    crumbs = [asker.opened(), step(0), *map(chunk, sizes)]
    expect(asker.ask(crumbs, crumbs), ProtocolError)


def test_what_is_kept_is_the_same_for_both(asker: BaseClient) -> None:
    first, second = ([asker.opened(), step(0), chunk(16), step(1, kept), chunk(16)] for kept in (1, 2))
    expect(asker.ask(first, second), MismatchError, "pass 1: the other party was told differently of kept")


def test_what_is_kept_is_the_same_for_both_in_a_pass_without_a_round(asker: BaseClient) -> None:
    longer = session_shape_message(replace(SESSION, prompt=9))
    first, second = (
        [asker.opened(shape=longer), step(0), chunk(16), step(1, kept), chunk(16)] for kept in (1, 2)
    )
    expect(asker.ask(first, second), MismatchError, "told differently of kept")


def test_which_row_follows_which_is_the_same_for_both(asker: BaseClient) -> None:
    first, second = ([asker.opened(), step(0), chunk(16), step(1, 1, x), chunk(16)] for x in ((), (0,)))
    expect(asker.ask(first, second), MismatchError, "pass 1: the other party was told differently of after")


@pytest.mark.parametrize("other", [{"rows": 3}, {"batch": 2}], ids=str)
def test_parties_that_are_asked_for_different_things_do_not_begin(
    asker: BaseClient, other: dict[str, int]
) -> None:
    shape = session_shape_message(replace(SESSION, **other))
    rest = [step(0), chunk(16)]
    errors = asker.ask([asker.opened(), *rest], [asker.opened(shape=shape), *rest])
    expect(errors, MismatchError, "another shape")


@pytest.mark.parametrize("party", [0, 1])
def test_a_query_and_a_generation_are_different_things(cluster: Cluster, party: int) -> None:
    with BaseClient(cluster) as asker:
        query = asker.infer(party)
        call = methods.GENERATE.on(asker.peers[1 - party])(iter([asker.opened()]), timeout=60)
        error = _ended(call, f"party{1 - party}")
        assert isinstance(error, MismatchError)
        with pytest.raises(grpc.RpcError) as failure:
            list(query)
        assert isinstance(restore(failure.value, f"party{party}"), MismatchError)
        freed(cluster)


def test_a_session_id_is_used_once(asker: BaseClient) -> None:
    right = [asker.opened(), step(0), chunk(16)]
    assert asker.ask(right, right) == [None, None]
    for error in asker.ask(right, right):
        assert isinstance(error, ProtocolError)
        assert "used before" in str(error)


BAD: dict[str, tuple[Any, type[PrivinfError]]] = {
    "nothing": (lambda a: [], ProtocolError),
    "no opening": (lambda a: [step(0), chunk(16)], ProtocolError),
    "a short session id": (lambda a: [a.opened(session_id=b"short")], ProtocolError),
    "no identity": (lambda a: [a.opened(identity=common_pb2.Identity())], MismatchError),
    "no shape": (lambda a: [a.opened(shape=common_pb2.SessionShape())], InputError),
    "no batch": (lambda a: [a.opened(shape=batched(0))], InputError),
    "a batch beyond the server's": (lambda a: [a.opened(shape=batched(9))], InputError),
    "a batch beyond all bounds": (lambda a: [a.opened(shape=batched(2**32 - 1))], InputError),
    "another batch amid a session": (
        lambda a: [a.opened(), step(0), chunk(16), a.opened(shape=batched(2))],
        ProtocolError,
    ),
    "another task": (
        lambda a: [a.opened(shape=session_shape_message(replace(SESSION, task="other")))],
        InputError,
    ),
    "opened twice": (lambda a: [a.opened(), a.opened()], ProtocolError),
    "no pass": (lambda a: [a.opened(), chunk(16)], ProtocolError),
    "an empty message": (lambda a: [a.opened(), party_pb2.GenerateRequest()], ProtocolError),
    "a later pass": (lambda a: [a.opened(), step(1), chunk(16)], ProtocolError),
    "a pass twice": (lambda a: [a.opened(), step(0), chunk(16), step(0), chunk(16)], ProtocolError),
    "no share": (lambda a: [a.opened(), step(0)], ProtocolError),
    "a short share": (lambda a: [a.opened(), step(0), chunk(15)], ProtocolError),
    "a share cut short by a pass": (lambda a: [a.opened(), step(0), chunk(15), step(1)], ProtocolError),
    "a long share": (lambda a: [a.opened(), step(0), chunk(17)], ProtocolError),
    "a share and more": (lambda a: [a.opened(), step(0), chunk(16), chunk(1)], ProtocolError),
    "an empty chunk": (lambda a: [a.opened(), step(0), chunk(0), chunk(16)], ProtocolError),
    "a chunk beyond all bounds": (lambda a: [a.opened(), step(0), chunk((1 << 20) + 1)], ProtocolError),
    "rows without end": (
        lambda a: [a.opened(), step(0), chunk(16), step(1, 10**6), chunk(16)],
        ProtocolError,
    ),
    "an advance without end": (
        lambda a: [a.opened(), step(0), chunk(16), step(1, 1, [300] * 2000), chunk(16)],
        ProtocolError,
    ),
    "kept what never was": (lambda a: [a.opened(), step(0, 1), chunk(16)], ProtocolError),
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused(asker: BaseClient, case: str) -> None:
    make, kind = BAD[case]
    expect(asker.ask(make(asker), make(asker)), kind)


@pytest.mark.parametrize("party", [0, 1])
def test_a_client_that_ends_at_one_party_alone_ends_for_both(tmp_path: Path, keys: Path, party: int) -> None:
    options = {role: {"idle_seconds": 0.3} for role in ("party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster, BaseClient(cluster) as asker:
        more = threading.Event()

        def script(other: int) -> Iterator[party_pb2.GenerateRequest]:
            yield from [asker.opened(), step(0), chunk(16)]
            if other != party:
                more.wait(60)

        errors = asker.ask(script(0), script(1))  # type: ignore[arg-type]
        assert any(isinstance(error, PrivinfError) for error in errors)
        more.set()
        freed(cluster)


def test_a_generation_for_one_party_alone_costs_the_other_nothing(cluster: Cluster) -> None:
    with BaseClient(cluster) as asker:
        script = [asker.opened(), step(0), chunk(16)]
        for party in (0, 1):
            error = _ended(
                methods.GENERATE.on(asker.peers[party])(iter(script), timeout=0.5), f"party{party}"
            )
            assert isinstance(error, DeadlineExceeded)
            asker.session = os.urandom(16)
            script[0] = asker.opened()
        freed(cluster)


def test_each_party_opens_its_own_half_at_the_dealer(cluster: Cluster, keys: Path) -> None:
    begin = session_shape_message(SESSION)
    halves: list[tuple[str, dict[str, Any]]] = [
        ("party0", {"preparation_id": ID}),
        ("party1", {"begin": begin}),
        ("party0", {}),
    ]
    for role, which in halves:
        peer = dial(cluster.address("dealer"), "dealer", tls(keys, role), role)
        opened = dealer_pb2.PassesOpen(identity=says(role), **which)
        for first in (dealer_pb2.PassesRequest(open=opened), dealer_pb2.PassesRequest()):
            error = _ended(methods.PASSES.on(peer)(iter([first]), timeout=60), "dealer")
            assert isinstance(error, ProtocolError)
        peer.channel.close()
    freed(cluster)


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path, keys: Path) -> None:
    options = {"party0": {"journal": tmp_path / "nothing" / "journal"}}
    with pytest.raises(ConfigError, match=r"journal .* cannot be written"):
        Cluster(tmp_path, keys, options=options).__enter__()
