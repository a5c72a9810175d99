"""What the tests of generations share: a shape, shares of it, and a look at what is left afterwards."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from dummy import TASK
from harness import Cluster, wait_until

from privinf.parties.serve import DealerServer, PartyServer
from privinf.protocols.contract import Advance, SessionShape
from privinf.sdk.passes import Generation
from privinf.sdk.transport import Link

SESSION = SessionShape(TASK, 3, 2)
SHARES = (b"share of party 0", b"share of party 1")
THREADS = ("feeder", "inbox", "deal", "Generate", "Infer")


def generate(link: Link, passes: int) -> str:
    """Run a generation and check its answers; return its session's id."""
    with link.generate(SESSION) as generation:
        for index in range(passes):
            assert generation.step(Advance.first(min(index, 2)), SHARES)[:2] == SHARES
        return generation.session_id


def once(link: Link) -> None:
    """Begin a generation and take one step, one of which fails: what goes wrong ahead may be known before the step."""
    with link.generate(SESSION) as generation:
        generation.step(Advance(), SHARES)


def spend(generation: Generation) -> None:
    """Step on until it fails: passes that are ready may still be had."""
    for _ in range(8):
        generation.step(Advance(), SHARES)


def freed(cluster: Cluster) -> None:
    """Wait until nothing is left of any generation: places, streams, the dealer's masks, threads."""
    wait_until(lambda: not _left(cluster))


def _left(cluster: Cluster) -> list[str]:
    left = [thread.name for thread in threading.enumerate() if thread.name in THREADS]
    for role, server in cluster.servers.items():
        if isinstance(server, DealerServer):
            left += [role] * server.calls.dealings.count
        elif isinstance(server, PartyServer):
            calls = server.calls
            held = (
                calls._sessions.count,
                len(calls._sessions._streams),
                len(calls._generations._lives.now()),
            )
            left += [role] * sum(held)
    return left


def tell(cluster: Cluster, begun: list[Any]) -> None:
    """Have the sessions that the parties' programs begin noted."""
    for program in cluster.programs.values():
        begin = program.begin

        def noted(shape: SessionShape, begin: Any = begin) -> Any:
            begun.append(begin(shape))
            return begun[-1]

        pytest.MonkeyPatch().setattr(program, "begin", noted)
