"""Dealer and two parties as processes for a measurement: relays on their links, TLS or not, peak memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from benchmarks.harness.machine import ROOT
from benchmarks.harness.relay import Relays
from benchmarks.harness.rows import DEALER_TOO, NETWORKS, MeasureError
from privinf.config import GIB, Tls
from privinf.errors import ConfigError
from privinf.keys import keygen
from privinf.local import SERVER_ENVIRONMENT
from privinf.protocols.contract import QueryShape

START_SECONDS = 120.0
STOP_SECONDS = 20.0
Head = Callable[[str], list[str]]  # the command of a role, without the options that all roles share


def of_workload(name: str, folder: Path) -> Head:
    """Commands that serve a workload of the benchmark."""
    return lambda role: [sys.executable, "-m", "benchmarks.harness.role", role, name, str(folder)]


def of_model(shared: Path) -> Head:
    """Commands that serve a model which `privinf share` wrote."""
    program = [sys.executable, "-m", "privinf"]
    return lambda role: [*program, role.rstrip("01"), "--model", str(shared / role)]


class Deployment:
    """Starts dealer, party 1 and party 0, one after the other, as each needs the last one's address.

    `network` shapes the link between the parties, with the suffix +dealer also the dealer's links to both.
    """

    def __init__(
        self,
        head: Head,
        work: Path,
        *,
        network: str = "loopback",
        tls: bool = True,
        ahead: int = 0,
        shapes: Sequence[QueryShape] = (),
    ) -> None:
        self._head, self._work, self._secure = head, work, tls
        self._network, self._dealer_too = split_network(network)
        self._ahead = ["--ahead", str(ahead)] if ahead else []
        for s in shapes if ahead else ():
            self._ahead += ["--shape", f"{s.task}:{s.batch}:{s.tokens}"]
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._stack = ExitStack()
        self.addresses = ("", "")

    def tls(self, role: str = "client") -> Tls | None:
        """The certificate of a role, where there is one."""
        keys = self._work / "keys"
        return Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key") if self._secure else None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._stop)
            relays = stack.enter_context(Relays(self._network))
            to_dealer = relays.to if self._dealer_too else str
            if self._secure:
                keygen(self._work / "keys")
            dealer = self._launch("dealer")
            second = self._launch("party1", "--dealer", to_dealer(dealer))
            peer = ["--peer", relays.to(second), *self._ahead]
            self.addresses = self._launch("party0", "--dealer", to_dealer(dealer), *peer), second
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def peaks(self) -> dict[str, int]:
        """The largest resident set of each process until now, in bytes; mapped preparations count."""
        return {role: _peak(process.pid) for role, process in self._running.items()}

    def _launch(self, role: str, *options: str) -> str:
        command = [*self._head(role), "--listen", "127.0.0.1:0", *options, *self._tls_options(role)]
        if role != "dealer":
            command += ["--party", role[-1], "--store", str(self._work / f"{role}-store")]
        room = {"PRIVINF_MAX_STORE_BYTES": str(32 * GIB)}
        with (self._work / f"{role}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=SERVER_ENVIRONMENT | room | os.environ,
            )
        self._running[role] = process
        return f"127.0.0.1:{_ready_port(role, process, self._work / f'{role}.log')}"

    def _tls_options(self, role: str) -> list[str]:
        tls = self.tls(role)
        if tls is None:
            return ["--insecure-no-tls"]
        return ["--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]

    def _stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def split_network(name: str) -> tuple[str, bool]:
    """A network's name without its suffix, and whether the dealer's links are shaped; ConfigError if unknown."""
    plain = name.removesuffix(DEALER_TOO)
    if plain not in NETWORKS:
        raise ConfigError(f"no network {name!r}; known are {', '.join(NETWORKS)}, and each with {DEALER_TOO}")
    return plain, plain != name


def _peak(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


def _ready_port(role: str, process: subprocess.Popen[str], log: Path) -> int:
    """The port that the server's first line names."""
    lines: Queue[str] = Queue()
    stdout = process.stdout
    assert stdout is not None
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        return int(json.loads(lines.get(timeout=START_SECONDS))["port"])
    except (Empty, ValueError, KeyError) as error:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise MeasureError(f"{role} did not start:\n{tail}") from error
