"""Bytes that are no messages and streams that say nothing, at every call of the server of this mode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from serving import asking, client_of, converted, serving

from privinf.equivariant import methods
from privinf.equivariant.serving.server import Server
from privinf.errors import DeadlineExceeded, InputError, PeerLost, PrivinfError, ProtocolError
from privinf.parties.memory import give_back
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.status import restore

ALL = [methods.ABOUT, methods.EMBED, methods.CLASSIFY, methods.GENERATE, methods.SESSION]
NO_MESSAGE = b"\xff" * 24


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """A way to a server that must answer in the end."""
    made = converted(tmp_path_factory.mktemp("bert"), "bert", "cover")
    with asking(made) as (client, server):
        way = to(server)
        yield way
        way.close()
        assert client.embed(["a b"]).vectors.shape[0] == 1


def to(server: Server) -> Peer:
    return dial(f"127.0.0.1:{server.port}", "equivariant", None, "client")


def sent(peer: Peer, method: Method, *messages: bytes) -> PrivinfError:
    """What a call of these bytes ends with."""
    call = peer.channel.stream_stream(method.path)(iter(messages), timeout=20, metadata=peer.metadata)
    return ended(call)


def ended(call: Any) -> PrivinfError:
    with pytest.raises(grpc.RpcError) as failure:
        list(call)
    return restore(failure.value, "server")


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_what_is_no_message_is_refused_by_name(peer: Peer, method: Method) -> None:
    kind = (
        InputError if method is methods.SESSION else ProtocolError
    )  # this level has no sessions: nothing is read
    for message in (NO_MESSAGE, b"\x01" + NO_MESSAGE, b"\x00" + NO_MESSAGE):
        assert type(sent(peer, method, message)) is kind


@pytest.mark.slow
def test_what_is_no_message_leaves_no_memory_behind(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    """Parsed within gRPC each would leave some 16 KB: 20 MB in all."""

    def flood(times: int) -> None:
        for _ in range(times):
            for method in ALL:
                sent(peer, method, b"\x01" + NO_MESSAGE)
        capfd.readouterr()
        give_back()

    flood(20)
    before = _resident()
    flood(250)
    assert _resident() - before < 6 << 20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("kind", "level"), [("bert", "cover"), ("bert", "session")])
def test_streams_that_say_nothing_keep_nobody_out(tmp_path: Path, kind: str, level: str) -> None:
    made = converted(tmp_path, kind, level)
    with serving(made.server, max_calls=1, max_sessions=1) as server, client_of(made, server) as client:
        way, queue = to(server), SimpleQueue[bytes | None]()
        silent = [
            way.channel.stream_stream(method.path)(iter(queue.get, None), metadata=way.metadata)
            for method in (methods.EMBED, methods.SESSION)
            for _ in range(4)
        ]
        assert client.embed(["a b"]).vectors.shape[0] == 1
        for _ in silent:
            queue.put(None)
        way.close()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_a_call_without_its_first_message_ends(tmp_path: Path, method: Method) -> None:
    made = converted(tmp_path, "bert", "session")
    with serving(made.server, due_seconds=0.2) as server:
        way, queue = to(server), SimpleQueue[bytes | None]()
        call = way.channel.stream_stream(method.path)(iter(queue.get, None), metadata=way.metadata)
        error = ended(call)
        assert isinstance(error, DeadlineExceeded | PeerLost)
        queue.put(None)
        way.close()
