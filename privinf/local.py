"""Dealer and both parties as processes of this machine: to try privinf out, and for tests; protects nothing."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from privinf.config import LOOPBACK, PREFIX, Tls
from privinf.errors import ConfigError, ConnectError, ListenError
from privinf.keys import keygen
from privinf.last_words import last_words
from privinf.protocols.contract import QueryShape

# glibc keeps freed memory in one heap: a server frees and takes the same large arrays again and again, and page
# faults were an eighth of a query's time (docs/decisions/0011-malloc.md). Read by the C library at start alone.
SERVER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
}
START_SECONDS = 60.0
ATTEMPTS = 3  # to start on ports that were free a moment ago
STOP_SECONDS = 15.0
CLIENT_FILE = "client.toml"  # of the work folder: where `privinf up` says how its servers are reached


@dataclass
class Node:
    """A server process that has said where it listens."""

    role: str
    process: subprocess.Popen[str]
    address: str


class LocalParties:
    """Starts dealer, party 1 and party 0 of a shared model, with TLS; a context manager.

    `model` is the directory written by `privinf share`, `work` receives keys, stores and logs.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        work: str | os.PathLike[str],
        *,
        ahead: int = 0,
        shapes: Sequence[QueryShape] = (),
    ) -> None:
        self._model, self._work = Path(model).absolute(), Path(work).absolute()
        self._ahead, self._shapes = ahead, tuple(shapes)
        self.nodes: dict[str, Node] = {}

    @property
    def addresses(self) -> tuple[str, str]:
        """Of party 0 and party 1."""
        return self.nodes["party0"].address, self.nodes["party1"].address

    def tls(self, role: str = "client") -> Tls:
        """The certificate of a role."""
        keys = self._work / "keys"
        return Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")

    def log(self, role: str) -> Path:
        """The log of a role."""
        return self._work / f"{role}.log"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the work folder to oneself, without the client.toml of servers that are gone.

        Who waits for that file must not read where an earlier run listened. ConfigError where another run goes on.
        """
        self._work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"{self._work} is in use by another `privinf up`: end it, or choose another --work"
                ) from error
            (self._work / CLIENT_FILE).unlink(missing_ok=True)
            yield

    def require_alive(self) -> None:
        """ConnectError names a server that has ended, and why."""
        for role, node in self.nodes.items():
            if (status := node.process.poll()) is not None:
                raise ConnectError(f"{role} ended with status {status}: {last_words(self.log(role))}")

    def start(self) -> Self:
        """Return when all three serve; ConnectError names the one that does not, and what its log ends with."""
        self._work.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self._work / "keys" / "ca.pem").exists():
            keygen(self._work / "keys")
        for left in reversed(range(ATTEMPTS)):
            try:
                self._start_on(*(_free_address() for _ in range(3)))
            except BaseException as error:
                taken = any(node.process.poll() == ListenError.exit_code for node in self.nodes.values())
                self.stop()
                if not (left and taken and isinstance(error, ConnectError)):
                    raise
            else:
                break
        return self

    def _start_on(self, dealer: str, first: str, second: str) -> None:
        shapes = [word for s in self._shapes for word in ("--shape", f"{s.task}:{s.batch}:{s.tokens}")]
        self._launch("dealer", dealer)
        self._launch("party1", second, "--dealer", dealer)
        self._launch(
            "party0", first, "--dealer", dealer, "--peer", second, "--ahead", str(self._ahead), *shapes
        )
        for node in self.nodes.values():
            _require_ready(node, self.log(node.role))

    def stop(self) -> None:
        """Ask all three to end, then make them; idempotent."""
        for node in self.nodes.values():
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in self.nodes.values():
            try:
                node.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
            if node.process.stdout is not None:
                node.process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _launch(self, role: str, address: str, *options: str) -> None:
        tls = self.tls(role)
        # -P: the folder that we run in, maybe a checkout, is no place to import from.
        command = [sys.executable, "-P", "-m", "privinf", role.rstrip("01"), "--listen", address]
        paths = {"--model": self._model / role, "--ca": tls.ca, "--cert": tls.cert, "--key": tls.key}
        if role != "dealer":
            command += ["--party", role[-1]]
            paths["--store"] = self._work / f"{role}-store"
        command += [word for option, path in paths.items() for word in (option, str(path))]
        with self.log(role).open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*command, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                cwd=self._work,
                env=environment(),
            )
        self.nodes[role] = Node(role, process, address)


def environment() -> dict[str, str]:
    """What servers are given: nothing of ours that would import other code or configure them behind our back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", PREFIX))}
    return SERVER_ENVIRONMENT | kept


def _free_address() -> str:
    """With a port that is free now, so that all three can start at once; another process may take it before them."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return f"{LOOPBACK}:{probe.getsockname()[1]}"


def _require_ready(node: Node, log: Path) -> None:
    """Wait for the server's first line, which names its port."""
    stdout = node.process.stdout
    assert stdout is not None
    if not select.select([stdout], [], [], START_SECONDS)[0]:
        raise ConnectError(f"{node.role} did not serve within {START_SECONDS:g} s: {last_words(log)}")
    try:
        int(json.loads(stdout.readline())["port"])  # a first line without one is no server's
    except (json.JSONDecodeError, KeyError) as error:
        with suppress(subprocess.TimeoutExpired):  # stdout is closed: it has ended, or is about to
            node.process.wait(STOP_SECONDS)
        failed = ConnectError(f"{node.role} did not start: {last_words(log)}")
        if (status := node.process.returncode or 0) > 0:
            failed.exit_code = status  # says what can be mended, as the server itself does
        raise failed from error
