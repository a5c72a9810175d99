"""Connections that show no certificate: timed, bounded, and no client is locked out by them."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Cluster, Processes, ask, free_port

from privinf.parties.rpc import descriptors

_BARE = 400


@contextmanager
def soft_limit(descriptors: int) -> Iterator[None]:
    """Have processes that are started begin with so many descriptors, of as many as are allowed here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.processes
def test_bare_connections_lock_no_client_out(tmp_path: Path, keys: Path) -> None:
    """With the soft limit that the servers are started with, there would be no descriptor left for anybody."""
    with ExitStack() as stack:
        with soft_limit(256):
            processes = stack.enter_context(Processes(tmp_path, keys))
        for role in ("party0", "party1"):
            port = processes.nodes[role].port
            for _ in range(_BARE):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        with processes.link() as link:
            ask(link)


@pytest.mark.parametrize("secure", [True, False])
def test_a_connection_that_says_nothing_is_closed(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    monkeypatch.setattr(descriptors, "HANDSHAKE_SECONDS", 0.2)
    plain: dict[str, Any] = {} if secure else {"tls": None, "insecure_no_tls": True}
    options = {role: dict(plain) for role in ("dealer", "party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster:
        for role, port in cluster.ports.items():
            bare = socket.create_connection(("127.0.0.1", port), timeout=30)
            with bare, contextlib.suppress(ConnectionResetError):
                while bare.recv(1 << 16):  # without TLS a server begins with its settings
                    pass
            assert role in cluster.servers


def test_probes_take_no_more_connections_than_are_kept_for_them(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, keys, options={"party0": {"health_port": port}}) as cluster, ExitStack() as stack:
        bare = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(descriptors.PROBES + 8)
        ]
        assert sum(map(_served, bare)) == descriptors.PROBES
        with cluster.link() as link:
            ask(link)


def _served(connection: socket.socket) -> bool:
    """Whether a server without TLS begins to speak, and does not hang up."""
    try:
        return bool(connection.recv(1))
    except ConnectionResetError:
        return False


def test_a_server_keeps_descriptors_for_itself() -> None:
    assert descriptors.connections(1 << 16) == (1 << 16) - 256
    assert descriptors.connections(256) == 192
    assert dict(descriptors.options())["grpc.max_allowed_incoming_connections"] > 0


def test_the_limit_is_taken_to_what_is_allowed() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with soft_limit(200):
        assert descriptors.raise_limit() == min(hard, 1 << 16)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1 << 16)
