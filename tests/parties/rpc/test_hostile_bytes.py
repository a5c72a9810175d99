"""Bytes that no honest caller sends, at every call of every server: refused by name, and nothing of them stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dummy import says
from grpc_health.v1 import health_pb2
from harness import SHAPE, Cluster, ask, tls

from privinf.addresses import Address
from privinf.errors import PrivinfError, ProtocolError
from privinf.parties.memory import give_back
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import _OPTIONS, Peer, dial
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.health import SERVICE
from privinf.parties.rpc.messages import shape_message
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.parts import WHOLE_LIMIT, cut, join
from privinf.parties.rpc.status import restore
from privinf.sdk.call import Call
from privinf.v1 import party_pb2

HEALTH = Method(
    SERVICE, "Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse, methods.ANYBODY
)
CALLS: list[tuple[str, str, Method]] = [
    *(("dealer", "party0", method) for method in (methods.ATTEST_DEALER, methods.CREATE, methods.FETCH)),
    *(("dealer", "party1", method) for method in (methods.DROP, methods.PASSES)),
    *(("party1", "party0", method) for method in (methods.SESSION, methods.PREFETCH, methods.RECONCILE)),
    *(
        (party, "client", method)
        for party in ("party0", "party1")
        for method in (methods.ATTEST_PARTY, methods.INFER, methods.GENERATE, methods.STATUS, HEALTH)
    ),
]
NAMES = [f"{role}.{method.name}" for role, _, method in CALLS]
NO_MESSAGE = b"\xff" * 24
_MIB = 1 << 20


class Raw:
    """Makes calls of bytes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def send(self, method: Method, *messages: bytes, **how: Any) -> PrivinfError | None:
        """Return what it ends with."""
        call = self._peer.channel.stream_stream(method.path)
        try:
            list(call(iter(messages), timeout=10, metadata=self._peer.metadata, **how))
        except grpc.RpcError as error:
            return restore(error, self._peer.role)
        return None


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Cluster]:
    """Return servers that must answer in the end."""
    with Cluster(tmp_path_factory.mktemp("served"), keys) as cluster:
        yield cluster
        with cluster.link() as link:
            ask(link)


@pytest.fixture(scope="module")
def raw(served: Cluster) -> Iterator[dict[tuple[str, str], Raw]]:
    """Return who calls whom, one channel each."""
    pairs = {(role, own) for role, own, _ in CALLS}
    peers = {(role, own): dial(served.address(role), role, tls(served.keys, own), own) for role, own in pairs}
    yield {pair: Raw(peer) for pair, peer in peers.items()}
    for peer in peers.values():
        peer.close()


@pytest.mark.fast_cases(9)
@pytest.mark.parametrize(("role", "own", "method"), CALLS, ids=NAMES)
def test_what_is_no_message_is_refused_by_name(
    raw: dict[tuple[str, str], Raw], role: str, own: str, method: Method
) -> None:
    for messages in ([NO_MESSAGE], []):
        error = raw[role, own].send(method, *messages)
        assert type(error) is ProtocolError, error


@pytest.mark.slow
def test_what_is_no_message_leaves_no_memory_behind(
    raw: dict[tuple[str, str], Raw], capfd: pytest.CaptureFixture[str]
) -> None:
    """Parsed within gRPC each would leave some 16 KB: 18 MB in all."""

    def flood(times: int) -> None:
        for _ in range(times):
            for role, own, method in CALLS:
                raw[role, own].send(method, NO_MESSAGE)
        capfd.readouterr()
        give_back()

    flood(8)
    before = _resident()
    flood(64)
    assert _resident() - before < 6 * _MIB


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.fast_cases(9)
@pytest.mark.parametrize(("role", "own", "method"), CALLS, ids=NAMES)
def test_a_message_over_the_limit_is_refused(
    raw: dict[tuple[str, str], Raw], served: Cluster, role: str, own: str, method: Method
) -> None:
    options = [(name, -1 if name == "grpc.max_send_message_length" else value) for name, value in _OPTIONS]
    ca, cert, key = (path.read_bytes() for path in vars(tls(served.keys, own)).values())
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    options.append(("grpc.ssl_target_name_override", role))
    with grpc.secure_channel(served.address(role), credentials, options=options) as channel:
        error = Raw(Peer(role, Address("", 0), (), lambda: channel)).send(method, bytes(CHUNK + 8192))
    assert type(error) is ProtocolError
    assert "over the size limit" in str(error)


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize(("role", "own", "method"), CALLS, ids=NAMES)
def test_a_compressed_message_is_refused_unread(served: Cluster, role: str, own: str, method: Method) -> None:
    """Unpacked it could have any size: this one has 64 MiB."""
    ca, cert, key = (path.read_bytes() for path in vars(tls(served.keys, own)).values())
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    options = [("grpc.ssl_target_name_override", role), ("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(served.address(role), credentials, options=options) as channel:
        peer = Raw(Peer(role, Address("", 0), (), lambda: channel))
        error = peer.send(method, bytes(64 << 20), compression=grpc.Compression.Gzip)
    assert type(error) is ProtocolError
    assert "takes no compressed messages" in str(error)


def test_a_share_of_many_chunks_still_arrives(served: Cluster) -> None:
    """Each message is small, the whole is not."""
    nbytes = 5 * CHUNK + 7
    opened = party_pb2.InferRequest(
        open=party_pb2.InferOpen(
            session_id=os.urandom(16),
            identity=says("client"),
            shape=shape_message(SHAPE),
        )
    )
    assert opened.ByteSize() < CHUNK
    with served.link() as link:
        shape = type(SHAPE)(SHAPE.task, 1, nbytes)
        shares = os.urandom(nbytes), os.urandom(nbytes)
        assert link.run(shape, shares, Call(60))[:2] == shares


@pytest.mark.parametrize("nbytes", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_parts_make_the_whole_again(nbytes: int) -> None:
    whole = os.urandom(nbytes)
    parts = list(cut(whole))
    assert max(map(len, parts)) <= CHUNK + 1
    assert list(join([*parts, *cut(b"next")])) == [whole, b"next"]


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"\x02abc"],
        [b"\x00abc", b"\x01"],
        [b"\x01" + bytes(CHUNK + 1)],
        [b"\x00" + bytes(CHUNK)],
        [b"\x00" + bytes(CHUNK)] * (WHOLE_LIMIT // CHUNK) + [b"\x01x"],
    ],
)
def test_what_is_no_part_or_one_too_many_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        list(join(parts))
