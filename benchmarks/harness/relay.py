"""Relays TCP at the rate and delay of a network, one relay for each link that is to be shaped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import selectors
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SLICE_SECONDS = 0.001  # a chunk occupies the link about so long: what waits behind it waits no longer
MIN_CHUNK, MAX_CHUNK = 16 << 10, 512 << 10
AHEAD = (
    8 << 20
)  # bytes read before the link has room: more than it carries while this process is not scheduled
CONNECT_SECONDS = 30.0  # how long a relay waits for a target that does not listen yet
RETRY_SECONDS = 0.05
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Profile:
    """A link: round-trip time, and rate in each direction."""

    rtt_ms: float
    mbit: float

    @property
    def delay(self) -> float:
        """Seconds one way."""
        return self.rtt_ms / 2e3

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.mbit * 1e6 / 8

    @property
    def chunk(self) -> int:
        """Bytes forwarded at once, at most."""
        return min(max(int(self.rate * SLICE_SECONDS), MIN_CHUNK), MAX_CHUNK)

    @property
    def held(self) -> int:
        """Bytes that a connection keeps in either direction before it stops reading, give or take a chunk."""
        return int(self.rate * self.delay) + AHEAD


PROFILES: dict[str, Profile | None] = {
    "loopback": None,
    "lan": Profile(1.0, 3000.0),
    "wan": Profile(20.0, 400.0),
    "wan-far": Profile(80.0, 100.0),
}


class Way:
    """One direction of a link, which all its connections share."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._free = 0.0

    def due(self, now: float, nbytes: int) -> float:
        """When the last byte of a chunk that is sent now arrives."""
        self._free = max(now, self._free) + nbytes / self.profile.rate
        return self._free + self.profile.delay


class Pipe:
    """Chunks under way in one direction of a connection, in order; an empty one is the end."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._changed = asyncio.Event()

    async def put(self, due: float, chunk: bytes) -> None:
        """Add a chunk, once fewer bytes than the limit are held."""
        while self._held >= self._limit:
            await self._change()
        self._held += len(chunk)
        self._chunks.append((due, chunk))
        self._changed.set()

    async def first(self) -> tuple[float, bytes]:
        """Wait for the oldest chunk; it stays held until `drop`."""
        while not self._chunks:
            await self._change()
        return self._chunks[0]

    def drop(self) -> None:
        """Forget the oldest chunk, as it has been delivered."""
        self._held -= len(self._chunks.popleft()[1])
        self._changed.set()

    async def _change(self) -> None:
        # One side at most waits: the writer when there is nothing, the reader when there is much.
        self._changed.clear()
        await self._changed.wait()


async def _read(source: socket.socket, way: Way, pipe: Pipe) -> None:
    loop, chunk = asyncio.get_running_loop(), b"."
    while chunk:
        chunk = await loop.sock_recv(source, way.profile.chunk)
        await pipe.put(way.due(loop.time(), len(chunk)), chunk)


async def _write(sink: socket.socket, pipe: Pipe) -> None:
    loop, chunk = asyncio.get_running_loop(), b"."
    while chunk:
        due, chunk = await pipe.first()
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        await loop.sock_sendall(sink, chunk)
        pipe.drop()
    sink.shutdown(socket.SHUT_WR)


async def _connect(target: tuple[str, int]) -> socket.socket:
    """Connect, and wait for a target that does not listen yet."""
    loop = asyncio.get_running_loop()
    until = loop.time() + CONNECT_SECONDS
    while True:
        out = socket.socket()
        out.setblocking(False)
        try:
            await loop.sock_connect(out, target)
            return out
        except ConnectionRefusedError:
            out.close()
            if loop.time() > until:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        except BaseException:  # a target that resets at once was there
            out.close()
            raise


async def _carry(inner: socket.socket, target: tuple[str, int], ways: tuple[Way, Way]) -> None:
    """Carry one connection until both directions have ended or one has failed."""
    with inner, contextlib.suppress(OSError), await _connect(target) as outer:
        tasks: list[Coroutine[Any, Any, None]] = []
        for source, sink, way in ((inner, outer, ways[0]), (outer, inner, ways[1])):
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pipe = Pipe(way.profile.held)
            tasks += [_read(source, way, pipe), _write(sink, pipe)]
        await _all_or_first_error(tasks)


async def _all_or_first_error(tasks: list[Coroutine[Any, Any, None]]) -> None:
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _accept(listener: socket.socket, target: tuple[str, int], profile: Profile) -> None:
    loop = asyncio.get_running_loop()
    ways = Way(profile), Way(profile)
    carried: set[asyncio.Task[None]] = set()
    with listener:
        while True:
            inner, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(_carry(inner, target, ways))
            carried.add(task)
            task.add_done_callback(carried.discard)


async def _serve(profile: Profile, targets: list[str], port: int) -> None:
    """Relay to every target given and to those that standard input names; print each one's address."""
    loop = asyncio.get_running_loop()
    named: asyncio.Queue[str | None] = asyncio.Queue()
    for target in targets:
        named.put_nowait(target)
    if not targets:
        threading.Thread(target=_lines, args=(loop, named), daemon=True).start()
    accepting = []
    while (wanted := await named.get()) is not None:
        host, _, target = wanted.rpartition(":")
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        listener.setblocking(False)
        accepting.append(asyncio.create_task(_accept(listener, (host, int(target)), profile)))
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)


def _lines(loop: asyncio.AbstractEventLoop, named: asyncio.Queue[str | None]) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(named.put_nowait, line.strip())
    loop.call_soon_threadsafe(named.put_nowait, None)  # whoever started this process is gone


class Relays:
    """A process with one relay for each target; a context manager. A loopback profile relays nothing."""

    def __init__(self, network: str | Profile) -> None:
        self.profile = PROFILES[network] if isinstance(network, str) else network
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if self.profile is not None:
            command = [sys.executable, "-I", str(Path(__file__).resolve())]
            command += ["--rtt-ms", str(self.profile.rtt_ms), "--mbit", str(self.profile.mbit)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        return self

    def to(self, target: str) -> str:
        """The address to use in place of `target`, "host:port": a link of its own at each call."""
        if self._process is None:
            return target
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(target + "\n")
        self._process.stdin.flush()
        address = self._process.stdout.readline().strip()
        if not address:
            raise ConnectionError("the relay process has ended")
        return address

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=STOP_SECONDS)
            self._process = None


def main() -> None:
    """Relay until ended; without --target, to what standard input names until it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", default=[], metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="where to listen, if there is one target")
    parser.add_argument("--network", choices=[name for name, profile in PROFILES.items() if profile])
    parser.add_argument("--rtt-ms", type=float)
    parser.add_argument("--mbit", type=float)
    options = parser.parse_args()
    profile = PROFILES[options.network] if options.network else None
    if options.port and len(options.target) != 1:
        parser.error("--port goes with one --target")
    if profile is None:
        if not (options.mbit and options.mbit > 0 and options.rtt_ms is not None and options.rtt_ms >= 0):
            parser.error("needs --network, or --rtt-ms and --mbit")
        profile = Profile(options.rtt_ms, options.mbit)
    # epoll rounds waits up to whole milliseconds, which would double the delay of a LAN; select does not.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_serve(profile, options.target, options.port))


if __name__ == "__main__":
    main()
