"""A party against a peer that breaks the rules of a session: it drops the session and goes on serving."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import grpc
import pytest
from dummy import DummyParty, Settings, says
from fake_peers import FakeParty1, message
from harness import SHAPE, Cluster, tls, wait_until

from privinf.config import PartyConfig
from privinf.errors import DamagedPreparation, DeadlineExceeded, PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.frames import HEADER, Kind
from privinf.parties.rpc.messages import shape_message
from privinf.parties.rpc.status import restore
from privinf.parties.serve import PartyServer
from privinf.v1 import dealer_pb2, party_pb2

SETTINGS = Settings(rounds=2, round_bytes=16, extra=8)
HELLO = party_pb2.Hello(identity=says("party0"), shape=shape_message(SHAPE)).SerializeToString()
END = None  # in a script: the peer ends its direction


@dataclass
class Scene:
    """One session with a party 1 whose party 0 is played by a script."""

    cluster: Cluster
    session: bytes = field(default_factory=lambda: os.urandom(16))
    preparation: bytes = b""
    masks: Sequence[bytes] = ()

    def __enter__(self) -> Self:
        own = tls(self.cluster.keys, "party0")
        self._dealer = dial(self.cluster.address("dealer"), "dealer", own, "party0")
        self._party1 = dial(self.cluster.address("party1"), "party1", own, "party0")
        client = tls(self.cluster.keys, "client")
        self._client = dial(self.cluster.address("party1"), "party1", client, "client")
        return self

    def __exit__(self, *error: object) -> None:
        for peer in (self._dealer, self._party1, self._client):
            peer.channel.close()

    def prepare(self) -> None:
        """Have a preparation drawn, stored by party 1, and our half of it read here."""
        identity, shape = says("party0"), shape_message(SHAPE)
        create = dealer_pb2.CreateRequest(identity=identity, shape=shape, order=os.urandom(16))
        created = methods.CREATE.on(self._dealer)(create)
        self.preparation = created.preparation_id
        prefetched = methods.PREFETCH.on(self._party1).future(
            party_pb2.PrefetchRequest(
                preparation_id=self.preparation, identity=identity, shape=shape, epoch=bytes(16)
            ),
            timeout=60,
        )
        request = dealer_pb2.FetchRequest(preparation_id=self.preparation, identity=identity)
        content = b"".join(methods.FETCH.on(self._dealer)(request, timeout=60))[32:-32]
        self.masks = [content[index : index + 16] for index in (0, 16)]
        prefetched.result()

    def play(
        self, script: Sequence[bytes | None], timeout: float = 60
    ) -> tuple[PrivinfError | None, PrivinfError | None]:
        """Send the script; return what the client and what the peer are told."""
        asked = self.ask(timeout)
        outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        for item in script:
            outgoing.put(item)
        stream = methods.SESSION.on(self._party1)(iter(outgoing.get, None), timeout=60)
        told = _error(lambda: list(stream), "party1")
        outgoing.put(None)
        return _error(lambda: list(asked), "party1"), told

    def ask(self, timeout: float) -> Any:
        """Ask party 1 as a client does."""
        opened = party_pb2.InferOpen(
            session_id=self.session, identity=says("client"), shape=shape_message(SHAPE)
        )
        parts = [party_pb2.InferRequest(open=opened), party_pb2.InferRequest(chunk=bytes(8))]
        return methods.INFER.on(self._client).future(iter(parts), timeout=timeout)

    def right(self) -> list[bytes | None]:
        """Return the script of a session in good order."""
        return [
            message(self.session, Kind.HELLO, 0, HELLO),
            message(self.session, Kind.BEGIN, 0, self.preparation),
            message(self.session, Kind.DATA, 1, self.masks[0]),
            message(self.session, Kind.DATA, 2, self.masks[1]),
            END,
        ]


def _error(run: Any, role: str) -> PrivinfError | None:
    try:
        run()
    except grpc.RpcError as error:
        return restore(error, role)
    return None


@pytest.fixture
def scene(tmp_path: Path, keys: Path) -> Iterator[Scene]:
    """Return a prepared session."""
    with Cluster(tmp_path, keys, SETTINGS) as cluster:
        cluster.stop("party0")
        with Scene(cluster) as made:
            made.prepare()
            yield made


def test_a_session_in_good_order(scene: Scene) -> None:
    assert scene.play(scene.right()) == (None, None)


MASK = bytes(16)
WRONG: dict[str, tuple[int, Any]] = {
    "no frame": (0, lambda s: b"GET / HTTP/1.1"),
    "wrong version": (0, lambda s: b"PVI\x01" + message(s.session, Kind.HELLO, 0, HELLO)[4:]),
    "not a hello": (0, lambda s: message(s.session, Kind.DATA, 1, MASK)),
    "hello without end": (0, lambda s: message(s.session, Kind.HELLO, 0, HELLO, length=1 << 40)),
    "a hello of garbage": (0, lambda s: message(s.session, Kind.HELLO, 0, b"\xff" * 40)),
    "a short preparation id": (1, lambda s: message(s.session, Kind.BEGIN, 0, b"short")),
    "a foreign preparation": (1, lambda s: message(s.session, Kind.BEGIN, 0, b"x" * 16)),
    "data before its turn": (1, lambda s: message(s.session, Kind.DATA, 1, s.masks[0])),
    "wrong session": (2, lambda s: message(b"y" * 16, Kind.DATA, 1, s.masks[0])),
    "our own frame": (2, lambda s: message(s.session, Kind.DATA, 1, s.masks[0], sender=1)),
    "too long": (2, lambda s: message(s.session, Kind.DATA, 1, s.masks[0] + b"x")),
    "too short": (2, lambda s: message(s.session, Kind.DATA, 1, s.masks[0][:-1])),
    "oversize": (2, lambda s: message(s.session, Kind.DATA, 1, s.masks[0], length=1 << 62)),
    "truncated": (2, lambda s: message(s.session, Kind.DATA, 1, s.masks[0][:-1], length=16)),
    "no header": (2, lambda s: b"PVI\x02"),
    "empty": (2, lambda s: b""),
    "reordered": (2, lambda s: message(s.session, Kind.DATA, 2, s.masks[1])),
    "duplicated": (3, lambda s: message(s.session, Kind.DATA, 1, s.masks[0])),
    "one too many": (4, lambda s: message(s.session, Kind.DATA, 3, MASK)),
    "ends early": (3, lambda s: END),
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("case", WRONG)
def test_a_peer_that_errs_is_dropped_and_the_next_is_served(scene: Scene, case: str) -> None:
    place, make = WRONG[case]
    script = scene.right()
    script[place : place + 1] = [make(scene), END]
    if place == 0 and case != "not a hello":
        script = [script[0], END]
    nameless = case in ("no frame", "wrong version")  # no session is named: the query waits in vain
    asked, told = scene.play(script, 0.3 if nameless else 5)
    expected = DamagedPreparation if case == "a foreign preparation" else (ProtocolError, PeerLost)
    assert isinstance(told, expected), case
    assert isinstance(asked, DeadlineExceeded if nameless else expected), case
    with Scene(scene.cluster) as other:
        other.prepare()
        assert other.play(other.right()) == (None, None)


def test_a_preparation_begins_one_session(scene: Scene) -> None:
    assert scene.play(scene.right()) == (None, None)
    scene.session = os.urandom(16)
    asked, told = scene.play(scene.right())
    for error in (asked, told):
        assert isinstance(error, ProtocolError)
        assert "already spent" in str(error)


def test_a_session_has_one_stream(scene: Scene) -> None:
    hello = message(scene.session, Kind.HELLO, 0, HELLO)
    first: SimpleQueue[bytes | None] = SimpleQueue()
    first.put(hello)
    waiting = methods.SESSION.on(scene._party1)(iter(first.get, None), timeout=60)
    server = scene.cluster.servers["party1"]
    assert isinstance(server, PartyServer)
    wait_until(lambda: (scene.session, "party0") in server.calls._sessions._streams)
    error = _error(lambda: list(methods.SESSION.on(scene._party1)(iter([hello]), timeout=60)), "party1")
    assert isinstance(error, ProtocolError)
    waiting.cancel()
    first.put(None)


@pytest.mark.parametrize(
    "reply",
    [
        lambda session: [b"garbage"],
        lambda session: [message(session, Kind.HELLO, 0, HELLO, sender=0)],
        lambda session: [message(session, Kind.BEGIN, 0, bytes(16), sender=1)],
        lambda session: [message(bytes(16), Kind.HELLO, 0, HELLO, sender=1)],
        lambda session: [],
    ],
    ids=["garbage", "our own frame", "a preparation that party 1 chose", "another session", "nothing"],
)
def test_party_0_refuses_the_same(tmp_path: Path, keys: Path, reply: Any) -> None:
    def script(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        session = HEADER.unpack_from(next(messages))[6]
        yield from reply(session)

    with FakeParty1(keys, script) as fake:
        config = PartyConfig(
            party=0,
            peer=f"127.0.0.1:{fake.port}",
            dealer="127.0.0.1:1",
            store=tmp_path / "store",
            tls=tls(keys, "party0"),
            stop_seconds=0.2,
        )
        with PartyServer(config, DummyParty(0, SETTINGS).program()) as server:
            peer = dial(f"127.0.0.1:{server.port}", "party0", tls(keys, "client"), "client")
            for _ in range(2):  # the second shows that it still serves
                assert isinstance(_ask(peer), (ProtocolError, PeerLost))
            peer.channel.close()


def _ask(peer: Peer) -> PrivinfError | None:
    opened = party_pb2.InferOpen(
        session_id=os.urandom(16), identity=says("client"), shape=shape_message(SHAPE)
    )
    parts = [party_pb2.InferRequest(open=opened), party_pb2.InferRequest(chunk=bytes(8))]
    return _error(lambda: list(methods.INFER.on(peer)(iter(parts), timeout=60)), "party0")
