"""A client that does not reach its servers: what kept it from them, at which address, and what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from privinf.config import ClientConfig, Tls
from privinf.errors import ConnectError, PrivinfError, Unauthenticated
from privinf.keys import keygen
from privinf.parties.rpc.credentials import bind
from privinf.sdk.transport import Link


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keygen(folder)
    return folder


def of(keys: Path, role: str) -> Tls:
    return Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def served(stack: ExitStack, tls: Tls | None) -> str:
    """The address of a gRPC server without calls."""
    server = grpc.server(stack.enter_context(ThreadPoolExecutor(1)))
    port = bind(server, "127.0.0.1:0", tls, lambda error: None, "party0")
    server.start()
    stack.callback(lambda: server.stop(None).wait())
    return f"127.0.0.1:{port}"


def web(stack: ExitStack) -> str:
    """The address of what speaks another protocol."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def answer() -> None:
        while True:
            try:
                with listening.accept()[0] as call:
                    call.recv(1000)
                    call.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            except OSError:
                return

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    stack.callback(lambda: listening.shutdown(socket.SHUT_RDWR))
    return f"127.0.0.1:{listening.getsockname()[1]}"


def refusal(address: str, tls: Tls | None) -> PrivinfError:
    """What a client with two such parties is told."""
    config = ClientConfig(
        parties=(address, address), tls=tls, insecure_no_tls=tls is None, connect_seconds=0.3
    )
    with Link(config) as link, pytest.raises(PrivinfError) as caught:
        link.connect()
    return caught.value


def test_a_caller_without_tls_at_a_server_with_it(keys: Path, stack: ExitStack) -> None:
    error = refusal(address := served(stack, of(keys, "party0")), None)
    assert type(error) is ConnectError
    assert f"party0: cannot be reached at {address}: it closed the connection" in str(error)
    assert "give certificates (--ca, --cert, --key)" in str(error)


def test_a_caller_with_tls_at_a_server_without_it(keys: Path, stack: ExitStack) -> None:
    error = refusal(address := served(stack, None), of(keys, "client"))
    assert type(error) is Unauthenticated
    assert f"party0: no connection to {address}: the other side does not use TLS" in str(error)
    assert "--insecure-no-tls" in str(error)


def test_a_server_of_another_kind(stack: ExitStack) -> None:
    error = refusal(address := web(stack), None)
    assert str(error) == f"party0: cannot be reached at {address}: who answers there is no server of privinf"


@pytest.mark.parametrize("secure", [True, False])
def test_a_name_that_nobody_has(keys: Path, secure: bool) -> None:
    error = refusal("nobody.invalid:1", of(keys, "client") if secure else None)
    assert str(error).startswith("party0: cannot be reached at nobody.invalid:1: ")
    assert "no such host" in str(error) or "its name could not be looked up" in str(error)


def test_nobody_listens(keys: Path) -> None:
    error = refusal("127.0.0.1:1", of(keys, "client"))
    assert str(error) == "party0: cannot be reached at 127.0.0.1:1: nobody listens there"
