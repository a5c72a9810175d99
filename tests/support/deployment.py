"""A shared toy model and where it is served: by processes, or by servers within the test's own process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privinf.config import DealerConfig, PartyConfig, Tls
from privinf.keys import keygen
from privinf.local import LocalParties, Node
from privinf.models.sharing.bundle import dealer_program, party_program
from privinf.parties.serve import DealerServer, PartyServer
from privinf.sdk.async_client import AsyncClient
from privinf.sdk.client import Client

DEADLINE = 60.0


@dataclass(frozen=True)
class Deployment:
    """Everything a client needs."""

    source: Path  # the Hugging Face directory
    shared: Path  # what `privinf share` wrote
    addresses: tuple[str, str]
    tls: Tls
    dealer: str = ""  # where it listens, for `privinf status`

    @property
    def model(self) -> Path:
        """The client's part."""
        return self.shared / "client"

    def client(self, **changes: Any) -> Client:
        return Client(self.model, **self._options(changes))

    def async_client(self, **changes: Any) -> AsyncClient:
        return AsyncClient(self.model, **self._options(changes))

    def _options(self, changes: dict[str, Any]) -> dict[str, Any]:
        return {"parties": self.addresses, "tls": self.tls, "deadline": DEADLINE} | changes

    def toml(self, path: Path, **changes: Any) -> str:
        """Write a client.toml; return its path."""
        used = replace(self, **changes)
        lines = [
            f'parties = ["{used.addresses[0]}", "{used.addresses[1]}"]',
            "connect_seconds = 1.0",
            "[tls]",
        ]
        lines += [f'{name} = "{getattr(used.tls, name)}"' for name in ("ca", "cert", "key")]
        path.write_text("\n".join(lines))
        return str(path)


def of_processes(source: Path, shared: Path, local: LocalParties) -> Deployment:
    """What `local` serves."""
    return Deployment(source, shared, local.addresses, local.tls())


def start_again(node: Node) -> None:
    """Start a server that was killed, with the options it had, on the port it had."""
    command = [str(word) for word in node.process.args]  # type: ignore[union-attr]
    command[command.index("--listen") + 1] = node.address
    if node.process.stdout is not None:
        node.process.stdout.close()
    node.process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert node.process.stdout is not None
    assert node.process.stdout.readline(), f"{node.role} did not start again"


@contextmanager
def in_this_process(source: Path, shared: Path, work: Path, **given: dict[str, Any]) -> Iterator[Deployment]:
    """Dealer and both parties as servers of this process, over TLS; `party0` and `party1` add to their settings."""
    keygen(work / "keys")

    def common(role: str) -> dict[str, Any]:
        keys = work / "keys"
        own = Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")
        return {"tls": own, "stop_seconds": 0.2}

    def party(number: int, **options: Any) -> PartyServer:
        role = f"party{number}"
        options |= common(role) | given.get(role, {})
        return PartyServer(
            PartyConfig(party=number, store=work / role, **options), party_program(shared / role, number)
        )

    with ExitStack() as stack:
        program = dealer_program(shared / "dealer")
        dealer = (
            f"127.0.0.1:{stack.enter_context(DealerServer(DealerConfig(**common('dealer')), program)).port}"
        )
        second = f"127.0.0.1:{stack.enter_context(party(1, dealer=dealer)).port}"
        first = f"127.0.0.1:{stack.enter_context(party(0, dealer=dealer, peer=second)).port}"
        yield Deployment(source, shared, (first, second), common("client")["tls"], dealer)
