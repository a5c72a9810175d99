"""Addresses: what a user writes is parsed before gRPC sees it, and a server that cannot listen says why."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from dummy import DummyDealer, DummyParty, Settings
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import free_port

from privinf.addresses import Address, parse_host
from privinf.config import (
    ClientConfig,
    DealerConfig,
    EquivariantClientConfig,
    EquivariantConfig,
    PartyConfig,
)
from privinf.errors import ConfigError, ListenError
from privinf.parties.rpc.listening import listen
from privinf.parties.serve import DealerServer, PartyServer
from privinf.settings import load

HOST = "127.0.0.1"
BAD = {
    "127.0.0.1": "has no port",
    "": "has no port",
    "dealer:": "the port is a number",
    ":99999": "the port is a number up to 65535",
    ":50051": "has no host",
    "unix:": "Unix sockets are not supported",
    "unix:/run/privinf": "Unix sockets are not supported",
    "https://dealer:1": "schemes",
    "dns:///dealer:1": "schemes",
    "[::1]": "has no port",
    "::1:50051": "in brackets",
    "[dealer]:1": "in brackets",
    "[::1]x:1": "in brackets",
    "dealer:0x10": "the port is a number",
    "dealer:-1": "the port is a number",
    "dealer:¹": "the port is a number",
    "dealer:" + "1" * 5000: "the port is a number",
    " dealer:1": "not a host name",
    "-dealer:1": "not a host name",
    "dea ler:1": "not a host name",
    "300.1.1.1:1": "not an IPv4 address",
    "127.1:1": "not an IPv4 address",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused_with_what_is_missing(text: str) -> None:
    with pytest.raises(ConfigError, match=BAD[text]):
        Address.parse(text)


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:0", "[::1]:50051", "dealer:1", "my_service:65535", "party0.example.:7", "unix2:5", "dns:5"],
)
def test_an_address_prints_as_it_was_written(text: str) -> None:
    address = Address.parse(text)
    assert str(address) == text
    assert address.target == f"dns:///{text}"  # whatever the host's name, gRPC takes it for no scheme


def test_a_host_may_stand_in_brackets() -> None:
    assert parse_host("[::]") == "::"


def _every_address() -> Iterator[tuple[Any, dict[str, Any], str]]:
    """Every setting of every role that is an address, with the others that its role needs."""
    common = {"insecure_no_tls": True}
    party = common | {"party": 0, "dealer": "a:1", "peer": "b:1", "store": "/nothing"}
    for name in ("dealer", "peer", "listen"):
        yield PartyConfig, party, name
    yield DealerConfig, common, "listen"
    yield EquivariantConfig, common, "listen"
    yield EquivariantClientConfig, common | {"server": "a:1"}, "server"
    yield ClientConfig, common, "parties"


@pytest.mark.parametrize(("kind", "others", "name"), [*_every_address()])
def test_every_setting_of_an_address_is_parsed(kind: Any, others: dict[str, Any], name: str) -> None:
    for text in BAD:
        given = (text, "b:1") if name == "parties" else text
        with pytest.raises(ConfigError, match=name):
            load(kind, None, **others | {name: given})
        with pytest.raises(ConfigError, match=name):
            kind(**others | {name: given})
    good: Any = ("a:1", "[::1]:2") if name == "parties" else "[::1]:2"
    assert getattr(load(kind, None, **others | {name: good}), name) == getattr(
        kind(**others | {name: good}), name
    )


@pytest.mark.parametrize(("kind", "others", "name"), [*_every_address()])
def test_port_0_is_for_listening_alone(kind: Any, others: dict[str, Any], name: str) -> None:
    given: Any = ("a:1", "b:0") if name == "parties" else "a:0"
    if name == "listen":
        assert kind(**others | {name: given}).listen.port == 0
    else:
        with pytest.raises(ConfigError, match="port 0 cannot be reached"):
            kind(**others | {name: given})


@pytest.mark.parametrize("name", ["health", "metrics"])
def test_ports_and_hosts_of_probes_are_checked(name: str) -> None:
    for wrong in (
        {f"{name}_port": 65536},
        {f"{name}_port": -1},
        {f"{name}_host": ""},
        {f"{name}_host": "a:1"},
    ):
        with pytest.raises(ConfigError):
            DealerConfig(insecure_no_tls=True, **wrong)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((HOST, 0)) as holder:
        yield int(holder.getsockname()[1])


@contextmanager
def _shared() -> Iterator[int]:
    """A port whose holder would share it with anybody who is willing too, as two gRPC servers do by default."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((HOST, 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def _servers(folder: Path, **options: Any) -> Iterator[DealerServer | PartyServer]:
    common = {"insecure_no_tls": True, "listen": f"{HOST}:0", "stop_seconds": 0.1} | options
    yield DealerServer(DealerConfig(**common), DummyDealer(Settings()).program())
    yield PartyServer(
        PartyConfig(party=1, dealer="a:1", store=folder / "store", **common),
        DummyParty(1, Settings()).program(),
    )


@pytest.mark.parametrize("setting", ["listen", "health_port", "metrics_port"])
def test_no_server_shares_a_port_and_each_says_which_is_in_use(tmp_path: Path, setting: str) -> None:
    with _shared() as port:
        given = f"{HOST}:{port}" if setting == "listen" else port
        for server in _servers(tmp_path, **{setting: given}):
            with pytest.raises(ListenError, match=f"cannot listen on {HOST}:{port}: the address is in use"):
                server.start()


def test_one_exit_code_says_that_a_server_cannot_listen() -> None:
    assert ListenError.exit_code == 71
    assert issubclass(ListenError, ConfigError)


@pytest.mark.parametrize(
    ("text", "why"),
    [("192.0.2.1:5000", "this machine has no such address"), ("no-such-host.invalid:5000", "no such host")],
)
def test_a_reason_is_given(text: str, why: str) -> None:
    server = grpc.server(None)
    with pytest.raises(ListenError, match=why):
        listen(server.add_insecure_port, Address.parse(text))
    server.stop(None).wait()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may take every port")
def test_a_port_that_needs_a_privilege_says_so() -> None:
    server = grpc.server(None)
    with pytest.raises(ListenError, match="permission denied"):
        listen(server.add_insecure_port, Address(HOST, 1))


def test_a_name_with_one_address_taken_is_refused_whole(taken: int) -> None:
    """gRPC itself is content with any one of a name's addresses."""
    server = grpc.server(None)
    with pytest.raises(ListenError, match="in use"):
        listen(server.add_insecure_port, Address("localhost", taken))
    server.stop(None).wait()


def test_a_name_listens_on_one_port() -> None:
    server = grpc.server(None)
    port = listen(server.add_insecure_port, Address("localhost", 0))
    with socket.create_connection((HOST, port), timeout=30):
        pass
    server.stop(None).wait()


def test_health_and_metrics_are_served_where_they_are_told_to(tmp_path: Path) -> None:
    """127.0.0.2 stands for the address of a pod: what listens on 127.0.0.1 alone does not answer there."""
    other = "127.0.0.2"
    ports = {"health_port": free_port(), "metrics_port": free_port()}
    hosts = {"health_host": other, "metrics_host": other}
    for server in _servers(tmp_path, **ports, **hosts):
        with server:
            with grpc.insecure_channel(f"{other}:{ports['health_port']}") as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
            with urllib.request.urlopen(f"http://{other}:{ports['metrics_port']}/metrics") as response:
                assert f'role="{server.role}"' in response.read().decode()
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((HOST, ports["health_port"]), timeout=30)
