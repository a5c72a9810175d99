"""Three servers of a toy model as a campaign finds them: at fixed ports, behind links of their own, to be harmed."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.harness import clients
from benchmarks.harness.machine import ROOT
from benchmarks.harness.rows import MeasureError
from privinf.config import Tls
from privinf.keys import keygen
from privinf.local import SERVER_ENVIRONMENT
from privinf.sdk.client import Client
from tests.support import toy

ROLES = ("dealer", "party1", "party0")  # in the order they start
TEXTS = ("call me a ship", "the sea is deep", "whales", "who rides the wind?")
NEAR = 0.999  # cosine to float32; another answer is a wrong one
START_SECONDS = 60.0
_RELAY = Path(__file__).with_name("relay.py")


@dataclass
class Server:
    """A role's process, which can be ended, stopped, started again and kept from writing."""

    role: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start, and return when it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=dict(self.environment)
            )
        assert self.process.stdout is not None
        late = threading.Timer(START_SECONDS, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        if not line:
            tail = self.log.read_text("utf-8", "replace")[-2000:]
            raise MeasureError(f"{self.role} did not start:\n{tail}")

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, at once or in good order."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def room(self, nbytes: int) -> None:
        """Let it write no file beyond so many bytes, as if the disk were full; RLIM_INFINITY ends that."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (nbytes, hard))

    def limit_descriptors(self, count: int) -> None:
        """Let it have so many files and sockets open, and no more."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (count, hard))

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()
        return int(statm[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def held(self) -> dict[str, int]:
        """How many descriptors it has of each kind: sockets, pipes, files."""
        kinds = Counter[str]()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                kinds[_kind(os.readlink(link))] += 1
        return dict(kinds)


def _kind(target: str) -> str:
    """What a descriptor stands for; of a file its suffix or its name, not where it lies."""
    if not target.startswith("/"):
        return target.partition(":")[0]
    path = Path(target.partition(" ")[0])
    return path.suffix or path.name


class Wire:
    """One link, through a relay at a port of its own: it can be cut, or carry in bursts with pauses between."""

    def __init__(self, target: str) -> None:
        self.target, self.port = target, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What to dial in place of the target."""
        return f"127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Carry, at once and with no limit that matters."""
        if self._process is None:
            command = [sys.executable, "-I", str(_RELAY), "--target", self.target, "--port", str(self.port)]
            command += ["--rtt-ms", "0", "--mbit", "20000"]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert self._process.stdout is not None
            if not self._process.stdout.readline():
                raise MeasureError("the relay did not start")

    def cut(self) -> None:
        """Drop all connections, and take none."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def crawl(self, seconds: float, carry: float = 0.02, pause: float = 0.2) -> None:
        """Carry a tenth of the time."""
        assert self._process is not None
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._process.send_signal(signal.SIGSTOP)
            time.sleep(pause)
            self._process.send_signal(signal.SIGCONT)
            time.sleep(carry)


class Site:
    """The servers with mutual TLS, the links between all of them, and a certificate for each client."""

    def __init__(
        self, folder: Path, n_clients: int, *, ahead: int = 0, settings: Mapping[str, str] = {}
    ) -> None:
        self.folder, self.keys = folder, folder / "keys"
        self._ahead = ahead
        self._environment = {"PYTHONPATH": str(ROOT), **SERVER_ENVIRONMENT, **os.environ, **settings}
        self.source = toy.checkpoint(folder / "source")
        self.shared = toy.share(self.source, folder / "shared")
        self.expected = toy.clear(self.source, list(TEXTS))
        keygen(self.keys)
        clients.write(self.keys, n_clients)
        ports = {role: free_port() for role in ROLES}
        at = {role: f"127.0.0.1:{port}" for role, port in ports.items()}
        self.ports = ports
        self.wires = {
            "client-party0": Wire(at["party0"]),
            "client-party1": Wire(at["party1"]),
            "party0-party1": Wire(at["party1"]),
            "party0-dealer": Wire(at["dealer"]),
            "party1-dealer": Wire(at["dealer"]),
        }
        self.servers = {role: self._server(role, at[role]) for role in ROLES}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for wire in self.wires.values():
                stack.callback(wire.cut)
                wire.mend()
            for server in self.servers.values():
                server.start()
                stack.callback(server.end, signal.SIGTERM)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tls(self, name: str) -> Tls:
        """A certificate, by the name of its files."""
        return Tls(self.keys / "ca.pem", self.keys / f"{name}.pem", self.keys / f"{name}.key")

    def client(self, number: int, **options: Any) -> Client:
        """The client of this number, with a certificate of its own."""
        parties = self.wires["client-party0"].address, self.wires["client-party1"].address
        tls = self.tls(f"client{number}")
        return Client(self.shared / "client", parties=parties, tls=tls, **options)

    def right(self, text: int, vectors: np.ndarray) -> bool:
        """Whether this is the answer to the text of this number."""
        wanted = self.expected[text]
        cosine = float(vectors[0] @ wanted / np.linalg.norm(vectors[0]) / np.linalg.norm(wanted))
        return cosine > NEAR

    def state(self) -> dict[str, dict[str, int]]:
        """Memory and descriptors of each server, and what its store holds on disk."""
        return {
            role: {
                "resident": server.resident(),
                "descriptors": server.descriptors(),
                "disk": _size(self.folder / f"{role}-store"),
            }
            for role, server in self.servers.items()
        }

    def _server(self, role: str, listen: str) -> Server:
        tls, log = self.tls(role), self.folder / f"{role}.log"
        command = [sys.executable, "-P", "-m", "privinf", role.rstrip("01"), "--listen", listen]
        command += ["--model", str(self.shared / role), "--ca", str(tls.ca)]
        command += ["--cert", str(tls.cert), "--key", str(tls.key)]
        if role != "dealer":
            dealer = self.wires[f"{role}-dealer"].address
            command += [
                "--party",
                role[-1],
                "--dealer",
                dealer,
                "--store",
                str(self.folder / f"{role}-store"),
            ]
        if role == "party0":
            command += ["--peer", self.wires["party0-party1"].address, "--ahead", str(self._ahead)]
            command += ["--shape", "embed:1:16"] if self._ahead else []
        return Server(role, command, self._environment, log)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _size(folder: Path) -> int:
    """Bytes of the preparations in a store; logs of what was spent grow by design."""
    return sum(path.stat().st_size for path in folder.glob("*.prep*")) if folder.exists() else 0
