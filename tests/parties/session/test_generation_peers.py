"""A party whose peer, or dealer, breaks the rules of a generation: it drops that one and goes on serving."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import grpc
import pytest
from dummy import Settings, says
from fake_peers import FakeParty1, message
from harness import Cluster, tls
from sessions import SESSION, SHARES, freed, generate, once

from privinf.errors import (
    ConnectError,
    DamagedPreparation,
    MismatchError,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import bind, dial
from privinf.parties.rpc.frames import HEADER, Kind
from privinf.parties.rpc.messages import order_message, session_shape_message
from privinf.parties.rpc.status import restore
from privinf.parties.stock.digest import Tally
from privinf.protocols.contract import Advance, Order
from privinf.sdk.transport import Link
from privinf.v1 import dealer_pb2, party_pb2

SETTINGS = Settings(rounds=2, round_bytes=16, extra=8)
HELLO = party_pb2.Hello(
    identity=says("party0"), generation=session_shape_message(SESSION), passes_ahead=2
).SerializeToString()
END = None  # in a script: the peer ends its direction


def said(index: int, kept: int = 0, retired: Sequence[int] = (), after: Sequence[int] = ()) -> bytes:
    """Return what a party says of a pass."""
    told = party_pb2.Pass(index=index, kept=range(kept), retired=retired, after=after)
    return told.SerializeToString()


class Scene:
    """A generation of two passes with a party 1 whose party 0 is played by a script."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.session = cluster, os.urandom(16)

    def __enter__(self) -> Self:
        own, cluster = tls(self.cluster.keys, "party0"), self.cluster
        self._dealer = dial(cluster.address("dealer"), "dealer", own, "party0")
        self._party1 = dial(cluster.address("party1"), "party1", own, "party0")
        self._client = dial(cluster.address("party1"), "party1", tls(cluster.keys, "client"), "client")
        self._orders: SimpleQueue[Any] = SimpleQueue()
        opened = dealer_pb2.PassesOpen(identity=says("party0"), begin=session_shape_message(SESSION))
        self._orders.put(dealer_pb2.PassesRequest(open=opened))
        self._dealt = methods.PASSES.on(self._dealer)(iter(self._orders.get, None), timeout=60)
        begun = dealer_pb2.PassesBegun.FromString(next(self._dealt))
        self.preparation = begun.preparation_id
        for index in range(2):
            self._orders.put(dealer_pb2.PassesRequest(order=order_message(Order(index, (0,) * index))))
        return self

    def __exit__(self, *error: object) -> None:
        self._dealt.cancel()
        self._orders.put(None)
        for peer in (self._dealer, self._party1, self._client):
            peer.channel.close()

    def play(self, make: Callable[[list[bytes | None]], None] | None) -> list[PrivinfError | None]:
        """Send the script of a generation in good order, as `make` has changed it; return what both are told.

        Without it, say nothing after the beginning.
        """
        outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        stream = methods.SESSION.on(self._party1)(iter(outgoing.get, None), timeout=60)
        outgoing.put(message(self.session, Kind.HELLO, 0, HELLO))
        outgoing.put(message(self.session, Kind.BEGIN, 0, self.preparation))
        asked = self._ask()
        if make is not None:
            make(script := self._right())
            for item in script:
                outgoing.put(item)
        errors = [_ended(stream, "party1"), _ended(asked, "party1")]
        outgoing.put(END)
        return errors

    def _right(self) -> list[bytes | None]:
        script: list[bytes | None] = []
        for index in range(2):
            masks = self._pass()
            script.append(message(self.session, Kind.PASS, 2 * index, said(index, index, (0,) * index)))
            for round_, mask in enumerate(masks, 2 * index + 1):
                script.append(message(self.session, Kind.DATA, round_, mask))
        return [*script, END]

    def _pass(self) -> list[bytes]:
        header, seed, content, end, digest = (next(self._dealt) for _ in range(5))
        assert (len(seed), end, len(digest)) == (32, b"", 32), header
        return [content[:16], content[16:32]]

    def _ask(self) -> Any:
        opened = party_pb2.GenerateOpen(
            session_id=self.session, identity=says("client"), shape=session_shape_message(SESSION)
        )
        requests = [party_pb2.GenerateRequest(open=opened)]
        for index in range(2):
            step = party_pb2.PassOpen(index=index, kept=range(index))
            requests.append(party_pb2.GenerateRequest(step=step))
            requests.append(party_pb2.GenerateRequest(chunk=SHARES[1]))
        return methods.GENERATE.on(self._client)(iter(requests), timeout=60)


def _ended(call: Any, role: str) -> PrivinfError | None:
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return restore(error, role)
    return None


@pytest.fixture
def alone(tmp_path: Path, keys: Path) -> Iterator[Cluster]:
    """Return a dealer and a party 1 that must be free of everything in the end."""
    with Cluster(tmp_path, keys, SETTINGS) as cluster:
        cluster.stop("party0")
        yield cluster
        freed(cluster)
        cluster.start("party0")
        with cluster.link() as link:
            generate(link, 2)


def test_a_generation_in_good_order(alone: Cluster) -> None:
    with Scene(alone) as scene:
        assert scene.play(lambda script: None) == [None, None]


# Where in the script, and what is there instead: two passes of an announcement and two rounds, and the end.
WRONG: dict[str, tuple[int, Any, type[PrivinfError]]] = {
    "no announcement": (0, lambda s: message(s, Kind.DATA, 1, bytes(16)), ProtocolError),
    "an announcement of garbage": (0, lambda s: message(s, Kind.PASS, 0, b"\xff" * 8), ProtocolError),
    "an announcement of another round": (0, lambda s: message(s, Kind.PASS, 1, said(0)), ProtocolError),
    "an endless announcement": (
        0,
        lambda s: message(s, Kind.PASS, 0, said(0), length=1 << 40),
        ProtocolError,
    ),
    "our own announcement": (0, lambda s: message(s, Kind.PASS, 0, said(0), sender=1), ProtocolError),
    "an announcement of another session": (
        0,
        lambda s: message(bytes(16), Kind.PASS, 0, said(0)),
        ProtocolError,
    ),
    "another pass": (0, lambda s: message(s, Kind.PASS, 0, said(1)), MismatchError),
    "other rows kept": (3, lambda s: message(s, Kind.PASS, 2, said(1, 0, (0,))), MismatchError),
    "rows that follow others": (3, lambda s: message(s, Kind.PASS, 2, said(1, 1, (0,), (0,))), MismatchError),
    "other slots retired": (3, lambda s: message(s, Kind.PASS, 2, said(1, 1, (1,))), MismatchError),
    "no slots retired": (3, lambda s: message(s, Kind.PASS, 2, said(1, 1)), MismatchError),
    "the pass before": (3, lambda s: message(s, Kind.PASS, 2, said(0)), MismatchError),
    "another preparation": (1, lambda s: message(s, Kind.DATA, 1, bytes(16)), PrivinfError),
    "a round too many": (3, lambda s: message(s, Kind.DATA, 3, bytes(16)), ProtocolError),
    "an announcement within a pass": (2, lambda s: message(s, Kind.PASS, 1, said(0)), ProtocolError),
    "rounds that begin anew": (4, lambda s: message(s, Kind.DATA, 1, bytes(16)), ProtocolError),
    "a frame after the last": (6, lambda s: message(s, Kind.PASS, 4, said(2)), ProtocolError),
    "an end before the last": (4, lambda s: END, PeerLost),
    "an end between passes": (3, lambda s: END, PeerLost),
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("case", WRONG)
def test_a_peer_that_errs_is_dropped(alone: Cluster, case: str) -> None:
    place, make, kind = WRONG[case]

    def change(script: list[bytes | None]) -> None:
        script[place:] = [make(scene.session), END]

    with Scene(alone) as scene:
        for error in scene.play(change):
            assert isinstance(error, kind), case


def test_a_generation_that_the_dealer_does_not_know_is_refused(alone: Cluster) -> None:
    with Scene(alone) as scene:
        scene.preparation = bytes(16)
        for error in scene.play(None):
            assert isinstance(error, PeerLost)
            assert "is over, or never was" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        lambda session: [message(session, Kind.HELLO, 0, b"\xff" * 8, sender=1)],
        lambda session: [message(session, Kind.HELLO, 0, HELLO, sender=1), b"garbage"],
        lambda session: [
            message(session, Kind.HELLO, 0, HELLO, sender=1),
            message(session, Kind.BEGIN, 0, bytes(16), sender=1),
        ],
        lambda session: [
            message(session, Kind.HELLO, 0, HELLO, sender=1),
            message(session, Kind.PASS, 0, said(0, 7), sender=1),
        ],
        lambda session: [message(session, Kind.HELLO, 0, HELLO, sender=1)],
    ],
    ids=["no hello", "garbage", "a generation that party 1 chose", "another pass", "an end"],
)
def test_party_0_refuses_the_same(tmp_path: Path, keys: Path, reply: Any) -> None:
    def script(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        session = HEADER.unpack_from(next(messages))[6]
        yield from reply(session)

    options = {"dealer": {"come_seconds": 0.5}}  # this party 1 never comes to the dealer
    with Cluster(tmp_path, keys, SETTINGS, options) as cluster, FakeParty1(keys, script) as fake:
        cluster.stop("party0")
        cluster.options["party0"] = {"peer": f"127.0.0.1:{fake.port}"}
        cluster.start("party0")
        client = dial(cluster.address("party0"), "party0", tls(keys, "client"), "client")
        for _ in range(2):  # the second shows that it still serves
            assert isinstance(_asked(client), (MismatchError, ProtocolError, PeerLost))
        client.channel.close()
        freed(cluster)


def _asked(client: Any) -> PrivinfError | None:
    opened = party_pb2.GenerateOpen(
        session_id=os.urandom(16), identity=says("client"), shape=session_shape_message(SESSION)
    )
    requests = [
        party_pb2.GenerateRequest(open=opened),
        party_pb2.GenerateRequest(step=party_pb2.PassOpen()),
        party_pb2.GenerateRequest(chunk=SHARES[0]),
    ]
    return _ended(methods.GENERATE.on(client)(iter(requests), timeout=60), "party0")


class FakeDealer:
    """Deals generations with a script: what it sends of the first pass, by party."""

    def __init__(self, keys: Path, script: Callable[[int], Iterator[bytes]]) -> None:
        self._script = script
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self._passes, dealer_pb2.PassesRequest.FromString, None
        )
        table = {"Passes": handler}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(methods.DEALER, table),))
        self.port = bind(self._server, "127.0.0.1:0", tls(keys, "dealer"), print, "dealer")

    def _passes(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[bytes]:
        party = 0 if next(requests).open.WhichOneof("which") == "begin" else 1
        yield from self._script(party)
        for _ in requests:  # until the party leaves
            pass

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()


BEGUN = dealer_pb2.PassesBegun(preparation_id=bytes(16), identity=says("dealer")).SerializeToString()
CONTENT = bytes(2 * 16 + 8)


def dealt(first: Sequence[bytes], second: Sequence[bytes], begun: Sequence[bytes] = (BEGUN, BEGUN)) -> Any:
    """Return a script."""
    return lambda party: iter([begun[party], *(first, second)[party]])


def header(order: Order) -> bytes:
    """Return how a pass begins."""
    return order_message(order).SerializeToString()


def digest(content: bytes) -> bytes:
    """Return how a pass ends whose seed is zeros."""
    tally = Tally(bytes(32))
    tally.update(content)
    return tally.digest()


RIGHT = [header(Order(0)), bytes(32), CONTENT, b"", digest(CONTENT)]
RELAYED: dict[str, tuple[Any, type[PrivinfError], str]] = {
    "another order to both": (
        dealt([header(Order(0, (1,))), *RIGHT[1:]], [header(Order(0, (1,))), *RIGHT[1:]]),
        MismatchError,
        "another order",
    ),
    "another order to party 1": (
        dealt(RIGHT, [header(Order(0, (1,))), *RIGHT[1:]]),
        MismatchError,
        "told differently of retired",
    ),
    "another pass": (dealt(RIGHT, [header(Order(1)), *RIGHT[1:]]), ProtocolError, "where 0 is due"),
    "a short seed": (dealt([RIGHT[0], b"short"], RIGHT), ProtocolError, "seed has 5 bytes"),
    "too much": (dealt([*RIGHT[:3], b"x", b""], RIGHT), ProtocolError, "sent more"),
    "too much in a message": (dealt(RIGHT, [*RIGHT[:2], CONTENT + b"x"]), ProtocolError, "not used"),
    "another content": (
        dealt(RIGHT, [*RIGHT[:2], b"\1" + CONTENT[1:], *RIGHT[3:]]),
        DamagedPreparation,
        "on its way",
    ),
    "no digest": (dealt([*RIGHT[:4], b"digest"], RIGHT), ProtocolError, "where the dealer's digest was due"),
    "too little": (dealt(RIGHT, [*RIGHT[:2], CONTENT[1:], b""]), ProtocolError, "sent less"),
    "a message too large": (dealt([*RIGHT[:2], bytes(8 << 20)], RIGHT), ProtocolError, "size limit"),
    "no word": (dealt([], [], (b"\xff", BEGUN)), ProtocolError, "no PassesBegun"),
    "another generation": (
        dealt(
            RIGHT,
            RIGHT,
            (
                BEGUN,
                dealer_pb2.PassesBegun(preparation_id=b"x" * 16, identity=says("dealer")).SerializeToString(),
            ),
        ),
        ProtocolError,
        "another generation",
    ),
    "another program": (
        dealt([], [], (dealer_pb2.PassesBegun(preparation_id=bytes(16)).SerializeToString(), BEGUN)),
        MismatchError,
        "dealer differs in version",
    ),
}


@pytest.mark.fast_cases(5)
@pytest.mark.parametrize("case", RELAYED)
def test_a_dealer_that_errs_ends_the_generation(tmp_path: Path, keys: Path, case: str) -> None:
    script, kind, text = RELAYED[case]
    with FakeDealer(keys, script) as fake, Parties(tmp_path, keys, fake) as link:
        with pytest.raises(kind, match=text):
            once(link)
        link.close()


def test_a_dealer_that_deals_zeros_is_none_to_complain_of(tmp_path: Path, keys: Path) -> None:
    with (
        FakeDealer(keys, dealt(RIGHT, RIGHT)) as fake,
        Parties(tmp_path, keys, fake) as link,
        link.generate(SESSION) as generation,
    ):
        assert generation.step(Advance(), SHARES)[:2] == SHARES


def test_a_dealer_that_ends_its_streams_is_lost(tmp_path: Path, keys: Path) -> None:
    class Ending(FakeDealer):
        def _passes(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[bytes]:
            yield BEGUN

    with Ending(keys, iter) as fake, Parties(tmp_path, keys, fake) as link:  # type: ignore[arg-type]
        with pytest.raises(ConnectError) as failure:
            once(link)
        assert failure.value.party in (
            "dealer",
            "party0",
        )  # party 1 may be heard first: it lost party 0 by it


class Parties:
    """Two parties of a dealer that is none of ours; gives a link, and sees that they forget everything."""

    def __init__(self, folder: Path, keys: Path, fake: FakeDealer) -> None:
        self._cluster = Cluster(folder, keys, SETTINGS)
        self._cluster.ports["dealer"] = fake.port

    def __enter__(self) -> Link:
        for role in ("party1", "party0"):
            self._cluster.start(role)
        self._link = self._cluster.link()
        return self._link

    def __exit__(self, *error: object) -> None:
        self._link.close()
        freed(self._cluster)
        for role in ("party0", "party1"):
            self._cluster.stop(role)
