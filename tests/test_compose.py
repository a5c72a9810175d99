"""The compose file keeps the roles apart, and every rule that says so notices when it is broken."""

from __future__ import annotations

import copy
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
import yaml
from cryptography import x509
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
ROLES = ("dealer", "party0", "party1", "client")
SERVERS = ROLES[:3]
MOUNT = re.compile(r"(?P<source>\$\{[^}]*\}[^:]*|[^:]+):(?P<target>[^:]+)(?::(?P<mode>\w+))?")

Document = dict[str, Any]
Mount = tuple[str | None, str | None, str | None]  # source, target, mode


@pytest.fixture(scope="module")
def compose() -> Document:
    document: Document = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return document


def violations(document: Document) -> list[str]:
    """Every rule that the document breaks."""
    found = (
        [f"services are {set(document['services'])}"] if {*ROLES, "keys"} != set(document["services"]) else []
    )
    for role in ROLES:
        service = document["services"][role]
        for rule in (_mounts, _tls, _hardened):
            found += [f"{role}: {what}" for what in rule(role, service)]
    for role in SERVERS:
        service = document["services"][role]
        found += [f"{role}: {what}" for what in (*_ports(role, service), *_health(role, service))]
    return found + list(_networks(document)) + list(_keys(document["services"]["keys"]))


def _mounts(role: str, service: Document) -> Iterator[str]:
    """A role sees its own keys and model, read-only, a party its own store, and nothing else."""
    expected: set[Mount] = {
        (f"keys-{role}", f"/keys/{role}", "ro"),
        (f"${{MODEL_DIR:-./shared-model}}/{role}", "/model", "ro"),
    }
    if role.startswith("party"):
        expected.add((f"store-{role}", "/store", None))
    if _volumes(service) != expected:
        yield f"mounts {sorted(map(str, _volumes(service)))}"


def _volumes(service: Document) -> set[Mount]:
    """What is mounted; a line in another notation counts as a mount that no rule expects."""
    found = {text: MOUNT.fullmatch(text) for text in map(str, service["volumes"])}
    return {(m["source"], m["target"], m["mode"]) if m else (text, None, None) for text, m in found.items()}


def _tls(role: str, service: Document) -> Iterator[str]:
    given, folder = service["environment"], f"/keys/{role}"
    for name, file in (("CA", "ca.pem"), ("CERT", f"{role}.pem"), ("KEY", f"{role}.key")):
        if given.get(f"PRIVINF_{name}") != f"{folder}/{file}":
            yield f"PRIVINF_{name} is {given.get(f'PRIVINF_{name}')}"
    words = " ".join([*given, *service["command"], *service.get("entrypoint", ())])
    if "insecure" in words.lower():
        yield "TLS is turned off"


def _hardened(role: str, service: Document) -> Iterator[str]:
    wanted = {
        "user": "10001:10001",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp"],
    }
    yield from (
        f"{name} is {service.get(name)}" for name, value in wanted.items() if service.get(name) != value
    )
    yield from (f"{name} is given" for name in ("privileged", "cap_add", "devices", "pid") if name in service)


def _ports(role: str, service: Document) -> Iterator[str]:
    """Only a party's TLS port leaves its container, and only to this machine."""
    port = service["environment"]["PRIVINF_LISTEN"].rpartition(":")[2]
    allowed = [f"127.0.0.1:{port}:{port}"] if role.startswith("party") else []
    if service.get("ports", []) != allowed or service.get("network_mode"):
        yield f"publishes {service.get('ports')} by {service.get('network_mode')}"
    if port == service["environment"]["PRIVINF_HEALTH_PORT"]:
        yield "listens where the plaintext probe does"


def _health(role: str, service: Document) -> Iterator[str]:
    test = service.get("healthcheck", {}).get("test")
    if (
        test != ["CMD", "python", "/opt/privinf/probe.py"]
        or "PRIVINF_HEALTH_PORT" not in service["environment"]
    ):
        yield f"healthcheck is {test}"
    conditions = {name: entry["condition"] for name, entry in service["depends_on"].items()}
    if conditions.pop("keys", None) != "service_completed_successfully":
        yield "starts before its keys exist"
    before = {"dealer": set(), "party1": {"dealer"}, "party0": {"dealer", "party1"}}[role]
    if conditions != dict.fromkeys(before, "service_healthy"):
        yield f"waits for {conditions}"


def _networks(document: Document) -> Iterator[str]:
    """One network for each link; those between servers have no way out."""
    members: dict[str, set[str]] = {name: set() for name in document["networks"]}
    for role in ROLES:
        for name in document["services"][role]["networks"]:
            members[name].add(role)
    for name, roles in members.items():
        linked = {role for role in ROLES if role in name.split("-")}
        if roles != linked or len(roles) != 2:
            yield f"network {name} joins {sorted(roles)}"
        if "client" not in roles and not (document["networks"][name] or {}).get("internal"):
            yield f"network {name} leads outside"


def _keys(service: Document) -> Iterator[str]:
    if service.get("network_mode") != "none" or "ports" in service:
        yield "keys: reaches a network"
    if _volumes(service) != {(f"keys-{role}", f"/keys/{role}", None) for role in ROLES}:
        yield "keys: mounts something else"


def test_the_file_breaks_no_rule(compose: Document) -> None:
    assert violations(compose) == []


def _of(role: str, change: Callable[[Document], object]) -> Callable[[Document], object]:
    return lambda document: change(document["services"][role])


@pytest.mark.parametrize(
    "tamper",
    [
        _of("party0", lambda s: s["volumes"].append("keys-party1:/other:ro")),
        _of("dealer", lambda s: s["volumes"].append("${MODEL_DIR:-./shared-model}:/models:ro")),
        _of("party1", lambda s: s["volumes"].__setitem__(1, "keys-party1:/keys/party1")),
        _of("client", lambda s: s["volumes"].__setitem__(1, "keys-party0:/keys/client:ro")),
        _of("party0", lambda s: s["environment"].pop("PRIVINF_KEY")),
        _of("party0", lambda s: s["environment"].update(PRIVINF_INSECURE_NO_TLS="1")),
        _of("dealer", lambda s: s["command"].append("--insecure-no-tls")),
        _of("party1", lambda s: s["ports"].append("127.0.0.1:50059:50059")),
        _of("party1", lambda s: s.update(ports=["50052:50052"])),
        _of("dealer", lambda s: s.update(ports=["127.0.0.1:50050:50050"])),
        _of("dealer", lambda s: s.update(network_mode="host")),
        _of("party0", lambda s: s.pop("healthcheck")),
        _of("party0", lambda s: s["depends_on"].pop("party1")),
        _of("party0", lambda s: s.update(read_only=False)),
        _of("dealer", lambda s: s.update(cap_add=["NET_ADMIN"])),
        _of("client", lambda s: s["networks"].append("dealer-party0")),
        _of("keys", lambda s: s.pop("network_mode")),
        lambda document: document["networks"].update({"party0-party1": {}}),
    ],
)
def test_a_broken_rule_is_noticed(compose: Document, tamper: Callable[[Document], object]) -> None:
    document = copy.deepcopy(compose)
    tamper(document)
    assert violations(document) != []


def test_the_base_image_is_a_build_argument(compose: Document) -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert lines.index("ARG BASE=python:3.11-slim") < lines.index(stages[0])
    assert [line.split()[1] for line in stages] == ["${BASE}", "${BASE}"]
    for service in compose["services"].values():
        assert service["build"]["args"]["BASE"] == "${BASE:-python:3.11-slim}"


def test_the_last_stage_has_no_compiler_and_no_root() -> None:
    runtime = (ROOT / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]
    assert "apt-get" not in runtime
    assert [line for line in runtime.splitlines() if line.startswith("USER ")] == ["USER 10001:10001"]


def test_the_build_sees_only_what_is_named() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert next(rule for rule in rules if not rule.startswith("#")) == "*"
    assert {"**/*.key", "**/*.pem"} <= set(rules[rules.index("!deploy/wheels") :])


def test_keys_are_made_once_and_each_role_gets_its_own(tmp_path: Path) -> None:
    assert "made" in _make_keys(tmp_path)
    for role in ROLES:
        assert {p.name for p in (tmp_path / role).iterdir()} == {"ca.pem", f"{role}.pem", f"{role}.key"}
        assert (tmp_path / role / f"{role}.key").stat().st_mode & 0o077 == 0
        assert {"dealer", "party0", "party1", "client"} & _names(tmp_path / role / f"{role}.pem") == {role}
    before = _contents(tmp_path)
    assert "in place" in _make_keys(tmp_path)
    assert _contents(tmp_path) == before


@pytest.mark.slow
def test_keys_of_an_interrupted_run_are_all_made_anew(tmp_path: Path) -> None:
    _make_keys(tmp_path)
    before = _contents(tmp_path)
    (tmp_path / "party1" / "ca.pem").unlink()
    assert "made" in _make_keys(tmp_path)
    after = _contents(tmp_path)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)
    assert len({after[f"{role}/ca.pem"] for role in ROLES}) == 1


def _make_keys(folder: Path) -> str:
    for role in ROLES:
        (folder / role).mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"KEYS": str(folder), "PATH": path}
    script = [str(ROOT / "deploy" / "make_keys.sh")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def _names(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(names.value.get_values_for_type(x509.DNSName))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def probe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("probe", ROOT / "deploy" / "probe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "127.0.0.1:9"),
        ({"PRIVINF_HEALTH_HOST": "10.1.2.3"}, "10.1.2.3:9"),
        ({"PRIVINF_HEALTH_HOST": "0.0.0.0"}, "127.0.0.1:9"),
        ({"PRIVINF_HEALTH_HOST": "[::]"}, "[::1]:9"),
        ({"PRIVINF_HEALTH_HOST": "fd00::1"}, "[fd00::1]:9"),
    ],
)
def test_the_probe_asks_where_the_server_answers(
    probe: ModuleType, environ: dict[str, str], address: str
) -> None:
    assert probe.address(environ | {"PRIVINF_HEALTH_PORT": "9"}) == address


def test_the_probe_asks_no_proxy(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    test_the_probe_says_what_the_server_says(probe, "SERVING", True)


@pytest.mark.parametrize(("status", "answer"), [("SERVING", True), ("NOT_SERVING", False)])
def test_the_probe_says_what_the_server_says(probe: ModuleType, status: str, answer: bool) -> None:
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        assert probe.serving(f"127.0.0.1:{port}") is answer
        server.stop(None).wait()
    assert probe.serving(f"127.0.0.1:{port}") is False  # nobody listens any more
