"""Generations between processes with TLS, each role killed between passes and in one, the client too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dummy import Settings
from harness import Processes, tls, wait_until
from sessions import SESSION, SHARES, generate, spend

from privinf.errors import ConnectError
from privinf.protocols.contract import Advance
from privinf.sdk.transport import Link

pytestmark = pytest.mark.processes
CLIENT = """
import sys
from privinf.config import ClientConfig
from privinf.settings import load
from privinf.protocols.contract import Advance, SessionShape
from privinf.sdk.transport import Link
with Link(load(ClientConfig)) as link, link.generate(SessionShape("echo", 3, 2)) as generation:
    generation.step(Advance(), (bytes(16), bytes(16)))
    print("begun", flush=True)
    sys.stdin.read()
"""


def _idle(link: Link) -> bool:
    """Whether both parties are there and have no session."""
    try:
        return [status.sessions for status in link.status()] == [0, 0]
    except ConnectError:
        return False


def _recovers(link: Link) -> None:
    """See that a generation can be had again once the channels have found the restarted server."""
    wait_until(lambda: _idle(link))

    def generated() -> bool:
        try:
            generate(link, 3)
        except ConnectError:
            return False
        return True

    wait_until(generated)


def test_processes_generate_and_stop_in_good_order(tmp_path: Path, keys: Path) -> None:
    with Processes(tmp_path, keys) as running:
        with running.link() as link:
            session = generate(link, 4)
        assert [running.nodes[role].stop() for role in ("party0", "party1", "dealer")] == [0, 0, 0]
    for role in ("party0", "party1"):
        events = [json.loads(line) for line in (tmp_path / f"{role}.log").read_text().splitlines()]
        (done,) = [event for event in events if event["event"] == "generated"]
        assert (done["session"], done["passes"]) == (session, 4)
        assert not [event for event in events if event["level"] != "info"]


@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("victim", ["party0", "party1", "dealer"])
def test_a_role_is_killed(tmp_path: Path, keys: Path, victim: str, between: bool) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    halt: dict[str, Any] = (
        {"halt_deal": 1} if victim == "dealer" else {"halt_at": 4, "halt_party": int(victim[-1])}
    )
    settings = Settings(gate=str(gate), **{} if between else halt)
    with Processes(tmp_path, keys, settings) as running, running.link() as link:
        generation = link.generate(SESSION)
        generation.step(Advance(), SHARES)
        if not between:
            generation.send(Advance.first(1), SHARES)
            wait_until(gate.with_suffix(".reached").exists)
        running.nodes[victim].kill()
        with pytest.raises(ConnectError) as failure:
            spend(generation) if between else generation.receive()
        assert failure.value.party == victim
        assert failure.value.session_id == generation.session_id
        gate.unlink()
        running.nodes[victim].start()
        _recovers(link)
        others = [node for role, node in running.nodes.items() if role != victim]
        assert [node.process.poll() for node in others] == [None, None]


def test_the_client_is_killed(tmp_path: Path, keys: Path) -> None:
    with Processes(tmp_path, keys) as running, running.link() as link:
        own = tls(keys, "client")
        environ = {
            "PRIVINF_PARTIES": f"{running.nodes['party0'].address},{running.nodes['party1'].address}",
            "PRIVINF_CA": str(own.ca),
            "PRIVINF_CERT": str(own.cert),
            "PRIVINF_KEY": str(own.key),
        }
        command = [sys.executable, "-c", CLIENT]
        with subprocess.Popen(
            command, env=os.environ | environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"begun\n"
            assert [status.sessions for status in link.status()] == [1, 1]
            client.kill()
        wait_until(lambda: _idle(link))
        generate(link, 2)
        dealt = [line for line in (tmp_path / "dealer.log").read_text().splitlines() if '"dealt"' in line]
        assert len(dealt) >= 1
