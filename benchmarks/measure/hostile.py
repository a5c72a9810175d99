"""Bytes that are no messages, streams that say nothing, bare connections: memory stays, and others are answered."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from benchmarks.harness import machine
from benchmarks.harness.site import Site
from privinf.errors import PrivinfError
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.methods import DEALER, Method

MESSAGES, STREAMS, CONNECTIONS = 3000, 8, 1000
DESCRIPTORS = 1024  # that a server may have open: what a service is usually given
WARM = 100  # calls before memory is looked at: what is allocated once is no leak
GROWTH = 10e6  # bytes, for all messages of one call
IN_TIME = 10.0  # seconds in which others are answered
CALL_SECONDS = 5.0
TRIES = 3


def offered(role: str) -> list[Method]:
    """Return all calls that a role's server offers."""
    found = [value for value in vars(methods).values() if isinstance(value, Method)]
    between = {methods.SESSION.name, methods.PREFETCH.name, methods.RECONCILE.name}
    if role == "dealer":
        return [method for method in found if method.service == DEALER]
    of_party = [method for method in found if method.service == methods.PARTY]
    return [method for method in of_party if role == "party1" or method.name not in between]


def garbage(number: int) -> bytes:
    """Return bytes that no message begins with: a field of length-delimited bytes that ends too soon, then noise."""
    return b"\x0a\xff\xff\xff\x7f" + os.urandom(1 + number % 200)


def flood(site: Site, role: str, method: Method, count: int) -> dict[str, Any]:
    """Send so many at one call; return how much the server has grown, and how the calls ended."""
    server, ended = site.servers[role], dict[str, int]()
    with _peer(site, role, method) as peer:
        call = getattr(peer.channel, method.kind)(f"/{method.service}/{method.name}", None, None)

        def send(number: int) -> None:
            message = garbage(number)
            reply = call(
                iter([message]) if method.streams[0] else message,
                timeout=CALL_SECONDS,
                metadata=peer.metadata,
            )
            for _ in reply if method.streams[1] else ():
                pass

        def many(numbers: range) -> None:
            for number in numbers:
                try:
                    send(number)
                    code = "OK"
                except grpc.RpcError as error:
                    code = error.code().name if isinstance(error, grpc.Call) else "none"
                ended[code] = ended.get(code, 0) + 1

        many(range(WARM))
        before = server.resident()
        many(range(count))
        after = server.resident()
    return {"role": role, "call": method.name, "grown": after - before, "ended": ended}


@contextlib.contextmanager
def _peer(site: Site, role: str, method: Method) -> Iterator[Peer]:
    """Dial as a role that may make the call."""
    own = "client" if "client" in method.callers else min(method.callers - {role})
    wanted = "client0" if own == "client" else own
    peer = dial(f"127.0.0.1:{site.ports[role]}", role, site.tls(wanted), own)
    try:
        yield peer
    finally:
        peer.channel.close()


def silent(site: Site, count: int) -> dict[str, Any]:
    """Open streams at both parties' Infer that say nothing; return how soon another client is answered."""
    over, streams = threading.Event(), list[Any]()
    peers = [
        dial(f"127.0.0.1:{site.ports[role]}", role, site.tls("client0"), "client")
        for role in ("party0", "party1")
    ]

    def nothing() -> Iterator[Any]:
        over.wait()
        yield from ()

    try:
        for peer in peers:
            streams += [methods.INFER.on(peer).future(nothing(), timeout=3600) for _ in range(count)]
        time.sleep(0.5)
        return {"streams": count, **answered(site, 1)}
    finally:
        over.set()
        for stream in streams:
            stream.cancel()
        for peer in peers:
            peer.channel.close()


def bare(site: Site, count: int) -> dict[str, Any]:
    """Open TCP connections to every server that send nothing; return how soon a new client is answered."""
    open_ = list[socket.socket]()
    try:
        for port in site.ports.values():
            for _ in range(count):
                with contextlib.suppress(OSError):
                    one = socket.create_connection(("127.0.0.1", port), timeout=2)
                    open_.append(one)
        held = {role: server.descriptors() for role, server in site.servers.items()}
        return {"connections": len(open_), "held": held, **answered(site, 2)}
    finally:
        for one in open_:
            one.close()


def answered(site: Site, number: int) -> dict[str, Any]:
    """Ask as a new client until there is a right answer; return after how many seconds."""
    began, failed = time.monotonic(), Counter[str]()
    while time.monotonic() - began < TRIES * IN_TIME:
        try:
            with site.client(number) as client:
                if site.right(0, client.embed(["call me a ship"], timeout=IN_TIME).vectors):
                    return {"answered_after": round(time.monotonic() - began, 3), "failed": dict(failed)}
        except PrivinfError as error:
            failed[f"{type(error).__name__}: {error}"[:200]] += 1
            time.sleep(0.1)
    return {"answered_after": None, "failed": dict(failed)}


def campaign(site: Site, messages: int, streams: int, connections: int) -> dict[str, Any]:
    """All three kinds, one after the other, against the same servers."""
    for server in site.servers.values():
        server.limit_descriptors(DESCRIPTORS)
    answered(site, 0)
    floods = []
    for role in site.servers:
        for method in offered(role):
            floods.append(flood(site, role, method, messages))
            print(floods[-1], file=sys.stderr, flush=True)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "after_floods": lambda: answered(site, 1),
        "silent": lambda: silent(site, streams),
        "bare": lambda: bare(site, connections),
        "at_last": lambda: answered(site, 0),
    }
    found: dict[str, Any] = {"messages": messages, "descriptors": DESCRIPTORS, "floods": floods}
    for name, part in parts.items():
        found[name] = part()
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def failures(found: dict[str, Any]) -> list[str]:
    """Say which bars are not met."""
    missed = [
        f"{one['role']} grew by {one['grown'] / 1e6:.1f} MB at {one['call']}"
        for one in found["floods"]
        if one["grown"] > GROWTH
    ]
    for name in ("after_floods", "silent", "bare", "at_last"):
        after = found[name]["answered_after"]
        if after is None or after > IN_TIME:
            missed.append(f"{name}: answered after {after} s")
    return missed


def main() -> int:
    """Write benchmarks/results/hostile.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.hostile", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="at each call of each server")
    parser.add_argument("--streams", type=int, default=STREAMS, help="at each party")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="to each server")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "hostile.json")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # ours, for all those connections
    about = machine.about()
    with tempfile.TemporaryDirectory(prefix="privinf-hostile-") as folder, Site(Path(folder), 3) as site:
        found = campaign(site, given.messages, given.streams, given.connections)
    missed = failures(found)
    machine.write(given.json, {"benchmark": "hostile", **about, **found, "missed": missed})
    print("; ".join(missed) or "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
