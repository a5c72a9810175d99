"""Calls that say nothing, half of what they should, or take no answer: each ends, and holds no place until then."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from dummy import says
from harness import SHAPE, Cluster, another_client, ask, tls, wait_until
from sessions import SESSION, freed, generate

from privinf.config import Tls
from privinf.errors import (
    ConnectError,
    DeadlineExceeded,
    Overloaded,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import FrameWriter, Kind
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.lives import Keeping
from privinf.parties.rpc.messages import session_shape_message, shape_message
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.seats import Seats
from privinf.parties.rpc.status import restore
from privinf.parties.session.streams import PeerStream
from privinf.v1 import common_pb2, dealer_pb2, party_pb2


class Silent:
    """Calls that are begun, and not gone on with."""

    def __init__(self) -> None:
        self._open: list[SimpleQueue[bytes | None]] = []
        self._peers: list[Peer] = []
        self._begun: list[Any] = []

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        for queue in self._open:
            queue.put(None)
        for peer in self._peers:
            peer.close()

    def call(
        self,
        cluster: Cluster,
        role: str,
        method: Method,
        *first: Any,
        own: str = "client",
        shown: Tls | None = None,
        **how: Any,
    ) -> Any:
        """Begin one with some messages; None ends it, and nothing else does."""
        peer = dial(cluster.address(role), role, shown or tls(cluster.keys, own), own)
        queue: SimpleQueue[bytes | None] = SimpleQueue()
        for message in first:
            queue.put(message if isinstance(message, bytes | None) else message.SerializeToString())
        self._peers.append(peer)
        self._open.append(queue)
        begun = peer.channel.stream_stream(method.path)(iter(queue.get, None), **how)
        self._begun.append(begun)  # one that nobody holds is cancelled
        return begun


def ended(call: Any, role: str) -> PrivinfError:
    """Wait for a call's end."""
    with pytest.raises(grpc.RpcError) as failure:
        list(call)
    return restore(failure.value, role)


def infer(session: bytes | None = None) -> party_pb2.InferRequest:
    """The opening of a query."""
    opened = party_pb2.InferOpen(
        session_id=session or os.urandom(16), identity=says("client"), shape=shape_message(SHAPE)
    )
    return party_pb2.InferRequest(open=opened)


def generation() -> party_pb2.GenerateRequest:
    """The opening of a generation."""
    shape = session_shape_message(SESSION)
    opened = party_pb2.GenerateOpen(session_id=os.urandom(16), identity=says("client"), shape=shape)
    return party_pb2.GenerateRequest(open=opened)


def answers(cluster: Cluster, **client: Any) -> bool:
    """Whether a query is answered: with short times, on a busy machine, not every one is."""
    try:
        with cluster.link(**client) as link:
            ask(link)
    except (ConnectError, DeadlineExceeded, Overloaded, PeerLost):
        return False
    return True


@pytest.fixture
def silent() -> Iterator[Silent]:
    with Silent() as made:
        yield made


@pytest.mark.parametrize("method", [methods.INFER, methods.GENERATE])
def test_calls_that_say_nothing_keep_nobody_out(cluster: Cluster, silent: Silent, method: Method) -> None:
    for _ in range(cluster.party(0).calls._config.max_sessions):
        for role in ("party0", "party1"):
            silent.call(cluster, role, method)
    with cluster.link() as link:
        ask(link)
        generate(link, 1)
        assert [status.sessions for status in link.status()] == [0, 0]


def bounded(tmp_path: Path, keys: Path, **limits: float) -> Cluster:
    """Return servers with short times."""
    parties: dict[str, Any] = {role: limits for role in ("party0", "party1")}
    return Cluster(tmp_path, keys, options=parties)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("role", "own", "method"),
    [
        ("party0", "client", methods.INFER),
        ("party1", "client", methods.GENERATE),
        ("party0", "client", methods.ATTEST_PARTY),
        ("party1", "party0", methods.PREFETCH),
        ("party1", "party0", methods.SESSION),
        ("dealer", "party0", methods.CREATE),
        ("dealer", "party1", methods.FETCH),
        ("dealer", "party0", methods.PASSES),
    ],
)
def test_a_call_without_its_first_message_ends_without_a_deadline_of_its_own(
    tmp_path: Path, keys: Path, silent: Silent, role: str, own: str, method: Method
) -> None:
    options: dict[str, Any] = {role: {"due_seconds": 0.5}}
    with Cluster(tmp_path, keys, options=options) as cluster:
        error = ended(silent.call(cluster, role, method, own=own), role)
        if own == "client" and method.streams[0]:
            assert isinstance(error, DeadlineExceeded)
            assert "a message that was due did not come" in str(error)
        else:
            assert isinstance(error, PeerLost)
        wait_until(lambda: answers(cluster))


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("first", [infer, generation])
def test_a_query_for_party_0_alone_gives_its_place_back(
    tmp_path: Path, keys: Path, silent: Silent, first: Any
) -> None:
    method = methods.INFER if first is infer else methods.GENERATE
    with bounded(tmp_path, keys, greet_seconds=0.5) as cluster, cluster.link() as link:
        calls = [silent.call(cluster, "party0", method, first()) for _ in range(4)]
        for call in calls:
            error = ended(call, "party0")
            assert isinstance(error, DeadlineExceeded)
            assert error.party == "party1"
            assert "no client asked for this session" in str(error)
        wait_until(lambda: [status.sessions for status in link.status()] == [0, 0])
        wait_until(lambda: answers(cluster))
        freed(cluster)


def test_a_query_for_party_1_alone_takes_no_place(cluster: Cluster, silent: Silent) -> None:
    for _ in range(8):
        silent.call(cluster, "party1", methods.INFER, infer())
    wait_until(lambda: cluster.party(1)._guard._calls.taken == 8)
    with cluster.link() as link:
        ask(link)


def test_a_query_for_party_1_alone_ends(tmp_path: Path, keys: Path, silent: Silent) -> None:
    with bounded(tmp_path, keys, wait_seconds=0.3, greet_seconds=0.3) as cluster, cluster.link() as link:
        calls = [silent.call(cluster, "party1", methods.INFER, infer()) for _ in range(8)]
        for call in calls:
            error = ended(call, "party1")
            assert isinstance(error, Overloaded)
            assert "party0 did not come" in str(error)
        wait_until(lambda: [status.waiting for status in link.status()] == [0, 0])


@pytest.mark.parametrize(
    ("chunks", "kind", "why"),
    [
        ([], DeadlineExceeded, "a message that was due did not come"),
        ([8], DeadlineExceeded, "a message that was due did not come"),
        ([4], ProtocolError, "a chunk of 4 bytes where 8 were due"),
        ([0], ProtocolError, "a chunk of 0 bytes where 8 were due"),
        ([8, 0], ProtocolError, "a share of this query has 8 bytes, no more"),
    ],
)
def test_a_share_that_stops_amid_or_comes_in_crumbs_ends_the_query(
    tmp_path: Path, keys: Path, silent: Silent, chunks: list[int], kind: type[PrivinfError], why: str
) -> None:
    due = 0.5 if kind is DeadlineExceeded else 60.0
    with bounded(tmp_path, keys, due_seconds=due) as cluster, cluster.link() as link:
        first = [infer(os.urandom(16)), *(party_pb2.InferRequest(chunk=bytes(size)) for size in chunks)]
        calls = [silent.call(cluster, role, methods.INFER, *first) for role in ("party0", "party1")]
        errors = [ended(call, f"party{party}") for party, call in enumerate(calls)]
        assert any(isinstance(error, kind) and why in str(error) for error in errors)
        wait_until(lambda: [status.sessions for status in link.status()] == [0, 0])
        wait_until(lambda: answers(cluster))
        freed(cluster)


def test_a_session_that_says_no_more_ends(tmp_path: Path, keys: Path, silent: Silent) -> None:
    """Party 0 is played: it greets, and then nothing comes of it."""
    limits = {"idle_seconds": 0.5, "prepare_seconds": 0.5}
    with Cluster(tmp_path, keys, options={"party1": limits}) as cluster:
        cluster.stop("party0")
        session, messages = os.urandom(16), list[bytes]()
        hello = party_pb2.Hello(identity=says("party0"), shape=shape_message(SHAPE)).SerializeToString()
        FrameWriter(messages.append, session, 0).write(Kind.HELLO, 0, hello)
        silent.call(cluster, "party1", methods.SESSION, *messages, own="party0")
        share = party_pb2.InferRequest(chunk=bytes(8))
        asked = silent.call(cluster, "party1", methods.INFER, infer(session), share, None)
        error = ended(asked, "party1")
        assert isinstance(error, DeadlineExceeded)
        assert "party0 said nothing for 0.5 s" in str(error)
        freed(cluster)


def test_a_session_that_was_cut_says_so_though_grpc_calls_it_ended() -> None:
    life = Life(Deadline.after(60.0))
    stream = PeerStream(iter([]), Outgoing(), "party0", lambda: None)
    stream.live(life, 1.0)
    with pytest.raises(PeerLost, match="ended the session early"):
        next(stream)
    life.end(DeadlineExceeded("party0 said nothing for 1 s"))
    with pytest.raises(DeadlineExceeded, match="said nothing"):
        next(stream)


def test_a_generation_without_orders_ends_at_the_dealer(tmp_path: Path, keys: Path, silent: Silent) -> None:
    with Cluster(tmp_path, keys, options={"dealer": {"idle_seconds": 0.3, "come_seconds": 1.0}}) as cluster:
        begin = dealer_pb2.PassesOpen(identity=says("party0"), begin=session_shape_message(SESSION))
        first = dealer_pb2.PassesRequest(open=begin)
        error = ended(silent.call(cluster, "dealer", methods.PASSES, first, own="party0"), "dealer")
        assert isinstance(error, PrivinfError)
        freed(cluster)


def test_one_client_cannot_take_all_calls(tmp_path: Path, keys: Path, silent: Silent) -> None:
    few: dict[str, Any] = {role: {"max_sessions": 2, "max_waiting": 2} for role in ("party0", "party1")}
    with Cluster(tmp_path, keys, options=few) as cluster:
        most = cluster.party(0)._guard._calls.each
        silent_ones = [silent.call(cluster, "party0", methods.INFER) for _ in range(most)]
        wait_until(lambda: cluster.party(0)._guard._calls.taken == most)
        with pytest.raises(Overloaded, match="of this client are under way"), cluster.link() as link:
            link.status()
        with cluster.link(tls=another_client(keys, tmp_path)) as link:
            ask(link)
        for call in silent_ones:
            call.cancel()
        wait_until(lambda: not cluster.party(0)._guard._calls.taken)
        with cluster.link() as link:
            ask(link)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("first", [(), (infer,)])
@pytest.mark.parametrize("role", ["party0", "party1"])
def test_two_clients_that_say_nothing_keep_no_third_out(
    tmp_path: Path, keys: Path, silent: Silent, role: str, first: tuple[Any, ...]
) -> None:
    limits: dict[str, Any] = {"max_sessions": 2, "max_waiting": 4, "greet_seconds": 1.5}
    with Cluster(tmp_path, keys, options={"party0": limits, "party1": limits}) as cluster:
        server = cluster.party(int(role[-1]))
        most = 3 if first else server._guard._calls.each
        for shown in (tls(keys, "client"), another_client(keys, tmp_path)):
            for _ in range(most):
                opening = [make() for make in first]
                silent.call(cluster, role, methods.INFER, *opening, shown=shown)
        wait_until(lambda: server._guard._calls.taken == 2 * most)
        (tmp_path / "third").mkdir()
        third = another_client(keys, tmp_path / "third")
        wait_until(lambda: answers(cluster, tls=third))


@pytest.mark.parametrize("role", ["party1", "dealer"])
def test_clients_that_take_all_calls_keep_servers_from_none(
    tmp_path: Path, keys: Path, silent: Silent, role: str
) -> None:
    few: dict[str, Any] = {role: {"max_sessions": 2, "max_waiting": 2} for role in ("party0", "party1")}
    method = methods.INFER if role == "party1" else methods.ATTEST_DEALER
    attest = methods.ATTEST_PARTY if role == "party1" else methods.ATTEST_DEALER
    with Cluster(tmp_path, keys, options=few | {"dealer": {"max_jobs": 2, "max_sessions": 2}}) as cluster:
        calls, server = cluster.servers[role]._guard._calls, cluster.address(role)
        for shown in (tls(keys, "client"), another_client(keys, tmp_path)):
            for _ in range(calls.each):
                silent.call(cluster, role, method, shown=shown)
        wait_until(lambda: calls.taken == calls.limit)
        peer = dial(server, role, tls(keys, "party0"), "party0")
        reply = attest.on(peer)(common_pb2.AttestRequest(), timeout=10, metadata=peer.metadata)
        assert reply.role == role
        peer.close()


def test_places_are_counted_for_each_and_for_all() -> None:
    places, life = Seats(3, 2, "calls"), Life(Deadline.after(60.0))
    with places.place("a", life), places.place("a", life):
        with pytest.raises(Overloaded, match="2 calls of this client") as failure:
            places.place("a", life).__enter__()
        assert failure.value.retry_after is not None
        with places.place("b", life), pytest.raises(Overloaded, match="3 calls are"):
            places.place("c", life).__enter__()
    assert places.taken == 0
    places.close()
    with pytest.raises(Overloaded, match="stopping"):
        places.place("a", life).__enter__()


class Context:
    """What a life needs of a call."""

    def __init__(self, left: float | None) -> None:
        self.left, self.cancelled = left, threading.Event()

    def time_remaining(self) -> float | None:
        return self.left

    def cancel(self) -> None:
        self.cancelled.set()

    def add_callback(self, callback: Any) -> bool:
        return True


@pytest.mark.parametrize(("asked", "lasts"), [(None, 60.0), (1e9, 60.0), (2.0, 2.0)])
def test_a_call_is_cut_after_its_own_time_or_the_servers(asked: float | None, lasts: float) -> None:
    now = Deadline.after(0).at
    context, clock = Context(asked), [now]
    keeping = Keeping(lambda: clock[0])
    with keeping.of(context, 60.0) as life:  # type: ignore[arg-type]
        clock[0] = now + lasts - 0.5
        keeping.sweep()
        assert life.error is None
        clock[0] = now + lasts + 10
        keeping.sweep()
        assert isinstance(life.error, DeadlineExceeded)
        assert context.cancelled.is_set()
    keeping.close()


def test_one_call_that_cannot_be_cut_keeps_no_other_from_being_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the thread itself, which goes on: what cannot be cut is told at every look."""
    monkeypatch.setattr("privinf.parties.rpc.lives._SWEEP", 0.001)
    told: SimpleQueue[Exception] = SimpleQueue()
    keeping = Keeping(failed=told.put)
    late, other = Context(-10.0), Context(-10.0)

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(late, "cancel", fail)
    with keeping.of(late, 60.0):  # type: ignore[arg-type]
        for _ in range(2):
            assert isinstance(told.get(timeout=30), RuntimeError)
        with keeping.of(other, 60.0):  # type: ignore[arg-type]
            assert other.cancelled.wait(30)
    keeping.close()


def test_what_blocks_within_grpc_is_cut_when_its_own_time_is_over() -> None:
    clock, cut = [0.0], list[str]()
    life = Life(Deadline(1e9), lambda: cut.append("call"), lambda: clock[0])
    with life.watched(5.0, "a reply was not taken"):
        life.sweep(4.9)
        assert not cut
    life.sweep(6.0)  # it was taken in time
    assert not cut
    assert life.error is None
    with life.watched(5.0, "the peer is silent", lambda: cut.append("stream")):
        life.sweep(5.1)
    assert cut == ["stream"]
    assert "the peer is silent" in str(life.error)
