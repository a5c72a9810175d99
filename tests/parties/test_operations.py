"""What an operator sees of a server: logs, health, metrics."""

from __future__ import annotations

import builtins
import json
import urllib.request
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import SHAPE, Cluster, ask, free_port, tls, wait_until

from privinf.addresses import Address
from privinf.errors import MissingExtra, PartyError
from privinf.parties.logs import Log, clean
from privinf.parties.metrics import meters
from privinf.parties.rpc.credentials import dial

SECRET = "a secret value"


def test_a_log_holds_public_facts_alone() -> None:
    fields = {
        "session": "ab",
        "shape": SHAPE,
        "rounds": 3,
        "share": SECRET,
        "seconds": b"bytes",
        "error": [1],
    }
    assert clean(fields) == {"session": "ab", "shape": "echo:1:8", "rounds": 3}


def test_a_failure_is_logged_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log("party0")
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        log.failure("Infer", error)
    log.failure("Infer", PartyError("our own words"))
    output = capfd.readouterr().err
    first, second = (json.loads(line) for line in output.splitlines())
    assert SECRET not in output
    assert (first["kind"], first["level"], first["role"]) == ("ValueError", "error", "party0")
    assert "test_a_failure_is_logged_without_its_text" in first["where"]
    assert (second["error"], second["level"]) == ("our own words", "warning")


def _without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Let an import fail as if the library were not installed."""
    real = builtins.__import__

    def fake(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fake)


def _status(channel: grpc.Channel, service: str) -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=30).status


def test_health_is_told_over_tls_and_to_probes_without_a_certificate(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, keys, options={"party0": {"health_port": port}}) as cluster:
        serving = health_pb2.HealthCheckResponse.SERVING
        peer = dial(cluster.address("party1"), "party1", tls(keys, "client"), "client")
        assert _status(peer.channel, "privinf.v1.Party") == serving
        peer.channel.close()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert _status(channel, "") == serving


def test_ports_of_operators_are_free_once_a_server_has_stopped(tmp_path: Path, keys: Path) -> None:
    ports = {"health_port": free_port(), "metrics_port": free_port()}
    with Cluster(tmp_path, keys, options={"party1": ports}) as cluster:
        for _ in range(2):
            cluster.stop("party1")
            cluster.start("party1")


def test_metrics_count_what_waited(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, keys, options={"party0": {"metrics_port": port}}) as cluster:
        with cluster.link() as link:
            ask(link)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            text = response.read().decode()
    assert 'privinf_wait_seconds_count{role="party0"} 1.0' in text
    assert 'privinf_waiting{role="party0"} 0.0' in text


def test_probes_that_say_nothing_keep_no_probe_out(tmp_path: Path, keys: Path) -> None:
    """More of them than one address may have at once."""
    port, queue = free_port(), SimpleQueue[bytes | None]()
    with (
        Cluster(tmp_path, keys, options={"party1": {"health_port": port}}),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        path = "/grpc.health.v1.Health/Check"
        silent = [channel.stream_stream(path)(iter(queue.get, None)) for _ in range(6)]
        wait_until(lambda: _serves(channel))  # once those in front of it have been sent away
        for _ in silent:
            queue.put(None)


def _serves(channel: grpc.Channel) -> bool:
    try:
        return bool(_status(channel, "") == health_pb2.HealthCheckResponse.SERVING)
    except grpc.RpcError:
        return False


def test_metrics_count_queries(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, keys, options={"party1": {"metrics_port": port}}) as cluster:
        with cluster.link() as link:
            ask(link)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            text = response.read().decode()
    assert f'privinf_rounds_total{{role="party1"}} {cluster.settings.rounds}.0' in text
    assert f'privinf_preparation_bytes_total{{role="party1"}} {cluster.settings.prep_bytes()}.0' in text
    assert 'privinf_sessions{role="party1"} 0.0' in text
    assert 'privinf_waiting{role="party1"} 0.0' in text
    assert 'privinf_query_seconds_count{phase="online",role="party1"} 1.0' in text


def test_metrics_need_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "prometheus_client")
    with pytest.raises(MissingExtra, match="pip install"):
        meters("party0", Address("127.0.0.1", 1))
