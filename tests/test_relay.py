"""The relays that shape links in benchmarks: never early, never out of order, each direction at its own rate."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # for the benchmarks, which are not installed

from benchmarks.harness.relay import PROFILES, Profile, Relays, Way, _carry  # noqa: E402
from privinf.config import Tls  # noqa: E402
from privinf.keys import keygen  # noqa: E402
from privinf.parties.rpc.credentials import bind, dial  # noqa: E402

PATIENCE = 20.0


@contextmanager
def joined(relays: Relays, count: int = 1) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connections through one relay: (who dialled, who listens)."""
    pairs = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        host, _, port = relays.to(f"127.0.0.1:{listener.getsockname()[1]}").rpartition(":")
        for _ in range(count):
            near = socket.create_connection((host, int(port)), PATIENCE)
            far, _ = listener.accept()
            far.settimeout(PATIENCE)
            pairs.append((near, far))
    try:
        yield pairs
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def read(end: socket.socket, nbytes: int) -> bytes:
    """Exactly so many bytes."""
    parts = []
    while nbytes:
        part = end.recv(min(nbytes, 1 << 20))
        assert part, "ended early"
        parts.append(part)
        nbytes -= len(part)
    return b"".join(parts)


def seconds_to_carry(near: socket.socket, far: socket.socket, content: bytes) -> float:
    """From the first byte sent to the last received, which must be what was sent."""
    sender = threading.Thread(target=near.sendall, args=(content,))
    start = time.monotonic()
    sender.start()
    received = read(far, len(content))
    elapsed = time.monotonic() - start
    sender.join(PATIENCE)
    assert received == content
    return elapsed


def test_due_times_are_serialisation_then_delay() -> None:
    way = Way(Profile(rtt_ms=20.0, mbit=8.0))  # a megabyte a second
    assert way.due(5.0, 1000) == pytest.approx(5.0 + 0.001 + 0.010)
    assert way.due(5.0, 2000) == pytest.approx(5.0 + 0.003 + 0.010)  # waits for the first
    assert way.due(9.0, 1000) == pytest.approx(9.0 + 0.001 + 0.010)  # the link has been idle
    assert way.due(9.0, 0) == pytest.approx(9.0 + 0.001 + 0.010)  # an end overtakes nothing


def test_a_byte_takes_the_delay_of_its_direction() -> None:
    with Relays(Profile(rtt_ms=60.0, mbit=100.0)) as relays, joined(relays) as [(near, far)]:
        assert seconds_to_carry(near, far, b"x") >= 0.030
        assert seconds_to_carry(far, near, b"x") >= 0.030


@pytest.mark.parametrize("forward", [True, False])
def test_bulk_takes_its_size_over_the_rate(forward: bool) -> None:
    profile, content = Profile(rtt_ms=20.0, mbit=160.0), os.urandom(2_000_000)
    with Relays(profile) as relays, joined(relays) as [(near, far)]:
        ends = (near, far) if forward else (far, near)
        assert seconds_to_carry(*ends, content) >= len(content) / profile.rate + profile.delay


def test_connections_share_the_rate() -> None:
    content = os.urandom(1_000_000)
    with ThreadPoolExecutor(2) as pool, Relays(Profile(2.0, 80.0)) as relays, joined(relays, 2) as pairs:
        began = time.monotonic()  # before both: either may begin late
        list(pool.map(lambda pair: seconds_to_carry(*pair, content), pairs))
        taken = time.monotonic() - began
    assert taken > 0.19  # two contents at ten megabytes a second: 0.2


class Counted(Way):
    """A direction that delays nothing, and counts what it is asked to carry."""

    def __init__(self) -> None:
        super().__init__(Profile(1.0, 1.0))
        self.carried = 0

    def due(self, now: float, nbytes: int) -> float:
        self.carried += nbytes
        return now


def test_each_direction_occupies_its_own_rate() -> None:
    ways = Counted(), Counted()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        near = socket.create_connection(listener.getsockname())
        inner, _ = listener.accept()
        inner.setblocking(False)
        carried = pool.submit(asyncio.run, _carry(inner, listener.getsockname(), ways))
        far, _ = listener.accept()
        with near, far:
            for one, other, content in ((near, far, bytes(3000)), (far, near, bytes(200))):
                one.sendall(content)
                assert read(other, len(content)) == content
                one.shutdown(socket.SHUT_WR)
        carried.result(PATIENCE)
    assert [way.carried for way in ways] == [3000, 200]


def test_order_is_kept_across_small_and_large_pieces() -> None:
    pieces = [os.urandom(1 + (i * 7919) % 40_000) for i in range(400)]
    sent, received = hashlib.sha256(b"".join(pieces)), hashlib.sha256()
    with Relays("lan") as relays, joined(relays) as [(near, far)]:

        def send() -> None:
            for piece in pieces:
                near.sendall(piece)
            near.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while part := far.recv(1 << 16):
            received.update(part)
        sender.join(PATIENCE)
        far.sendall(b"still open this way")
        assert read(near, 19) == b"still open this way"
    assert received.digest() == sent.digest()


def test_a_receiver_that_does_not_read_stops_the_sender() -> None:
    limit = 256 << 20
    with Relays("lan") as relays, joined(relays) as [(near, _)]:
        near.settimeout(0.5)
        sent, block = 0, bytes(1 << 20)
        with suppress(TimeoutError):
            while sent < limit:
                sent += near.send(block)
    assert sent < limit // 4


def test_a_reset_ends_the_other_side() -> None:
    with Relays("lan") as relays, joined(relays) as [(near, far)]:
        near.settimeout(PATIENCE)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by reset
        far.close()
        with suppress(ConnectionResetError):
            assert near.recv(1) == b""


def test_a_target_may_come_later() -> None:
    with socket.socket() as later, Relays("lan") as relays:
        later.bind(("127.0.0.1", 0))
        host, _, port = relays.to(f"127.0.0.1:{later.getsockname()[1]}").rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as near:
            near.sendall(b"early")
            later.listen()
            far, _ = later.accept()
            with far:
                assert read(far, 5) == b"early"


def test_loopback_relays_nothing() -> None:
    with Relays("loopback") as relays:
        assert relays.to("somewhere:1") == "somewhere:1"
    assert PROFILES["wan"] == Profile(20.0, 400.0)


def test_the_process_ends_with_its_owner() -> None:
    command = [sys.executable, "-m", "benchmarks.harness.relay", "--network", "wan"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        answer, _ = process.communicate("127.0.0.1:1\n127.0.0.1:2\n", timeout=PATIENCE)
    assert process.returncode == 0
    first, second = answer.split()
    assert first != second


def test_a_relay_needs_a_link() -> None:
    command = [sys.executable, "-m", "benchmarks.harness.relay", "--target", "127.0.0.1:1", "--rtt-ms", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "--mbit" in done.stderr


def test_a_role_is_recognised_behind_a_relay(tmp_path: Path) -> None:
    keygen(keys := tmp_path / "keys")

    def tls(role: str) -> Tls:
        return Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")

    with ThreadPoolExecutor(2) as pool, Relays("lan") as relays:
        server = grpc.server(pool)
        port = bind(server, "127.0.0.1:0", tls("party1"), print, "party1")
        server.start()
        address = relays.to(f"127.0.0.1:{port}")
        assert not address.endswith(f":{port}")
        with dial(address, "party1", tls("party0"), "party0").channel as channel:
            grpc.channel_ready_future(channel).result(PATIENCE)
        with dial(address, "dealer", tls("party0"), "party0").channel as channel:
            ready = grpc.channel_ready_future(channel)
            with pytest.raises(grpc.FutureTimeoutError):
                ready.result(1.0)
        server.stop(0).wait(PATIENCE)
