"""Deployments for tests: three servers in this process, or three processes of their own."""

from __future__ import annotations

import json
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from dummy import TASK, DummyDealer, DummyParty, Settings

from privinf.config import ClientConfig, DealerConfig, PartyConfig, Tls
from privinf.parties.serve import DealerServer, PartyServer
from privinf.protocols.contract import Identity, QueryShape
from privinf.sdk.call import Call
from privinf.sdk.outcomes import Stats
from privinf.sdk.transport import Link

SHAPE = QueryShape(TASK, 1, 8)
SHARES = (b"share  0", b"share  1")
ON_DISK: dict[str, Any] = {"max_memory_bytes": 0}
_START_SECONDS = 60


def tls(keys: Path, role: str) -> Tls:
    """Return the certificate of a role."""
    return Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")


def another_client(keys: Path, folder: Path) -> Tls:
    """Return a second client's certificate, of the same authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from privinf import keys as made

    authority = x509.load_pem_x509_certificate((keys / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((keys / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(ec.SECP256R1())
    paths = {name: folder / name for name in ("other.pem", "other.key")}
    made._save(paths, "other", own, made._certificate("client", own, [], authority, signer, 1))
    return Tls(keys / "ca.pem", paths["other.pem"], paths["other.key"])


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that has no event of its own."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
CHOICE = range(10_000, EPHEMERAL) if EPHEMERAL > 12_000 else range(10_000, 60_000)


def free_port() -> int:
    """Return a port that nobody listens on, of those that the system hands to no one else's connection meanwhile."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(CHOICE)))
            return int(probe.getsockname()[1])


def ask(link: Link, deadline: float = 30.0) -> Stats:
    """Run one query and check its answer."""
    first, second, stats = link.run(SHAPE, SHARES, Call(deadline))
    assert (first, second) == SHARES
    return stats


@dataclass
class Cluster:
    """Dealer, party 1 and party 0 in this process; `options` go to the configuration of a role.

    Preparations lie on the disk unless `in_memory`, so that a test can look at them, and a restart leaves them.
    """

    folder: Path
    keys: Path
    settings: Settings = field(default_factory=Settings)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    each: dict[str, Settings] = field(default_factory=dict)  # where a role's settings differ
    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, PartyServer | DealerServer] = field(default_factory=dict)
    programs: dict[str, DummyParty] = field(default_factory=dict)
    in_memory: bool = False

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        with self._stack as stack:
            for role in ("dealer", "party1", "party0"):
                self.start(role)
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        for role in ("party0", "party1", "dealer"):
            self.stop(role)

    def start(self, role: str) -> None:
        """Start a role, on the port it had before."""
        settings = self.each.get(role, self.settings)
        listen = f"127.0.0.1:{self.ports.get(role, 0)}"
        common: dict[str, Any] = {"listen": listen, "tls": tls(self.keys, role), "stop_seconds": 0.2}
        own = self.options.get(role, {})
        server: PartyServer | DealerServer
        if role == "dealer":
            server = DealerServer(DealerConfig(**common | own), DummyDealer(settings).program())
        else:
            party = int(role[-1])
            self.programs[role] = DummyParty(party, settings)
            common |= {"party": party, "store": self.folder / role, "dealer": self.address("dealer")}
            common |= {"peer": self.address("party1")} if party == 0 else {}
            common["connect_seconds"] = 0.5
            common |= {} if self.in_memory else ON_DISK
            server = PartyServer(PartyConfig(**common | own), self.programs[role].program())
        self.ports[role] = server.start().port
        self.servers[role] = server

    def stop(self, role: str) -> None:
        """Stop a role in good order."""
        if role in self.servers:
            self.servers.pop(role).stop()

    def party(self, party: int) -> PartyServer:
        """Return a party's server."""
        server = self.servers[f"party{party}"]
        assert isinstance(server, PartyServer)
        return server

    def address(self, role: str) -> str:
        """Return where a role listens."""
        return f"127.0.0.1:{self.ports[role]}"

    def client(self, **changes: Any) -> ClientConfig:
        """Return the configuration of a client."""
        parties = (self.address("party0"), self.address("party1"))
        return replace(ClientConfig(parties=parties, tls=tls(self.keys, "client")), **changes)

    def link(self, identity: Identity | None = None, **changes: Any) -> Link:
        """Return a client."""
        return Link(self.client(**changes), identity)


class Node:
    """A role as a process."""

    def __init__(self, role: str, folder: Path, keys: Path, settings: Settings, **options: object) -> None:
        self.role, self._folder, self._keys = role, folder, keys
        self._options = {"listen": "127.0.0.1:0", **options}
        self.settings = settings
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, on the port it had before; wait for its line."""
        if self.port:
            self._options["listen"] = self.address
        settings, config = (self._folder / f"{self.role}.{suffix}" for suffix in ("json", "toml"))
        settings.write_text(json.dumps(asdict(self.settings)))
        config.write_text(self._toml())
        command = [
            sys.executable,
            str(Path(__file__).with_name("node.py")),
            self.role,
            str(config),
            str(settings),
        ]
        self.log = (self._folder / f"{self.role}.log").open("ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], _START_SECONDS)
        line = self.process.stdout.readline() if readable else b""
        assert line, (self._folder / f"{self.role}.log").read_text()
        self.port = json.loads(line)["port"]

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """End it in good order; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        return status

    def _toml(self) -> str:
        lines = [f"{name} = {json.dumps(value)}" for name, value in self._options.items()]
        own = tls(self._keys, self.role)
        return "\n".join([*lines, "[tls]", f'ca = "{own.ca}"', f'cert = "{own.cert}"', f'key = "{own.key}"'])


@dataclass
class Processes:
    """Dealer, party 1 and party 0 as processes; preparations lie on the disk unless `in_memory`."""

    folder: Path
    keys: Path
    settings: Settings = field(default_factory=Settings)
    nodes: dict[str, Node] = field(default_factory=dict)
    in_memory: bool = False

    def __enter__(self) -> Self:
        common: dict[str, Any] = {"stop_seconds": 0.5}
        dealer = self._add("dealer", **common)
        common["dealer"] = dealer.address
        common |= {} if self.in_memory else ON_DISK
        peer = self._add("party1", party=1, store=str(self.folder / "store1"), **common)
        self._add("party0", party=0, store=str(self.folder / "store0"), peer=peer.address, **common)
        return self

    def __exit__(self, *error: object) -> None:
        for node in self.nodes.values():
            if node.process.poll() is None:
                node.kill()

    def _add(self, role: str, **options: object) -> Node:
        self.nodes[role] = Node(role, self.folder, self.keys, self.settings, **options)
        return self.nodes[role]

    def link(self, **changes: Any) -> Link:
        """Return a client."""
        parties = (self.nodes["party0"].address, self.nodes["party1"].address)
        return Link(replace(ClientConfig(parties=parties, tls=tls(self.keys, "client")), **changes))
