"""Starts and stops the servers: the functions block until a signal, the classes serve in this process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

import grpc

from privinf.addresses import Address
from privinf.config import DealerConfig, PartyConfig, ServerConfig
from privinf.errors import ConfigError, InputError, PrivinfError
from privinf.parties.dealing.dealer import DealerCalls
from privinf.parties.logs import Log
from privinf.parties.metrics import meters
from privinf.parties.party import PartyCalls
from privinf.parties.rpc import certificates
from privinf.parties.rpc.credentials import Peer, bind, dial, server_options
from privinf.parties.rpc.guard import Guard
from privinf.parties.rpc.health import Health
from privinf.parties.rpc.life import Bounds
from privinf.parties.rpc.listening import as_told
from privinf.parties.rpc.methods import DEALER, PARTY
from privinf.parties.rpc.roles import PARTIES
from privinf.parties.rpc.seats import share_of
from privinf.parties.served import QUERIES, served
from privinf.parties.stderr import own_stderr
from privinf.parties.stock.record import file_bytes
from privinf.protocols.contract import DealerProgram, PartyProgram, Topology

_CONTROL_THREADS = 8  # for attest, status and health beside the long calls


class Server:
    """A gRPC server with health and an orderly end; the calls are its subclass's."""

    def __init__(self, role: str, service: str, config: ServerConfig, calls: int, bounds: Bounds) -> None:
        self.role, self._service, self._config = role, service, config
        if config.tls is not None:  # before anything else is done: it is read again to be shown
            certificates.read(config.tls, role)
        self.log = Log(role)
        most = 2 * (calls + _CONTROL_THREADS)  # of which no caller can take more than half
        self._guard = Guard(role, config.tls is not None, self.log, most, bounds)
        threads = 2 * most  # as many for clients as for the other servers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=role)
        self._server = grpc.server(self._pool, options=server_options(), maximum_concurrent_rpcs=threads)
        self._health = Health(self._server, self._guard, Address(config.health_host, config.health_port))
        self._meters = meters(role, Address(config.metrics_host, config.metrics_port))
        self.port, self._stopped = 0, False

    def start(self) -> Self:
        """Listen; return when calls are answered."""
        try:
            self._listen()
        except PrivinfError:
            self.stop()
            raise
        self._server.start()
        self._health.serving(self._service)
        self.log.info("serving", port=self.port)
        return self

    def _listen(self) -> None:
        """Take the ports; nothing is answered yet."""
        with as_told("listen"):
            self.port = bind(self._server, self._config.listen, self._config.tls, self._unfit, self.role)
        with as_told("health_port"):
            self._health.listen()
        with as_told("metrics_port"):
            self._meters.listen()

    def stop(self) -> None:
        """Refuse new calls, let those under way finish for a while, release everything; idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._health.stopping()
        self._drain()
        self._server.stop(self._config.stop_seconds).wait()
        self._health.close()
        self._meters.close()
        self._pool.shutdown(wait=False)
        self._guard.close()
        self._release()
        self.log.info("stopped")
        self.log.close()

    def _unfit(self, error: ConfigError) -> None:
        self.log.failure("certificates", error)

    def _drain(self) -> None:
        """Admit nothing more."""

    def _release(self) -> None:
        """Free what the calls used."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()


class PartyServer(Server):
    """A party in this process."""

    def __init__(self, config: PartyConfig, program: PartyProgram) -> None:
        if program.index != config.party:
            raise ConfigError(
                f"the program is party {program.index}'s, the configuration party {config.party}'s"
            )
        _check_topology(config, program)
        _check_shapes(config, program)
        idle = config.idle_seconds
        bounds = Bounds(config.max_seconds, config.prepare_seconds, config.due_seconds, idle, idle)
        super().__init__(f"party{config.party}", PARTY, config, _calls(config), bounds)
        self._peers = _dial_peers(config, self.role, self._unfit)
        self.calls = PartyCalls(config, program, self._peers, self.log, self._meters)
        self._server.add_generic_rpc_handlers((self.calls.handlers(self._guard),))

    def start(self) -> Self:
        """Listen, and begin to prepare ahead."""
        super().start()
        self.calls.start()
        return self

    def _drain(self) -> None:
        self.calls.drain()

    def _release(self) -> None:
        for peer in self._peers.values():
            peer.close()
        self.calls.close()


class DealerServer(Server):
    """The dealer in this process."""

    def __init__(self, config: DealerConfig, program: DealerProgram) -> None:
        _check_dealt(program.topology, program.identity.protocol)
        calls, longest = config.max_jobs + config.max_sessions, config.max_seconds
        bounds = Bounds(longest, longest, config.due_seconds, config.idle_seconds, config.stall_seconds)
        super().__init__("dealer", DEALER, config, calls, bounds)
        self.calls = DealerCalls(config, program, self.log)
        self._meters.watch(
            preparations=lambda: self.calls.jobs.count, generations=lambda: self.calls.dealings.count
        )
        self._server.add_generic_rpc_handlers((self.calls.handlers(self._guard),))

    def _drain(self) -> None:
        self.calls.drain()

    def _release(self) -> None:
        self.calls.close()


def serve_until_stopped(server: Server) -> None:
    """Serve until SIGTERM or SIGINT; print one line of JSON on stdout when ready."""
    with own_stderr(server.role), _stop_signals() as wait, server:
        print(json.dumps({"ready": True, "role": server.role, "port": server.port}), flush=True)
        wait()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], Any]]:
    """Give a function that returns after SIGTERM or SIGINT, also if that came before it was called.

    The C handler writes a byte, in whatever thread: an event could miss a signal that comes before it blocks.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer)
    previous = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: os.read(reader, 1)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


def _dial_peers(config: PartyConfig, role: str, told: certificates.Told) -> dict[str, Peer]:
    others = dict(zip(PARTIES[config.party + 1 :], config.peer, strict=False))
    if config.dealer is not None:
        others["dealer"] = config.dealer
    return {other: dial(where, other, config.tls, role, told=told) for other, where in others.items()}


def _check_topology(config: PartyConfig, program: PartyProgram) -> None:
    topology = program.topology
    topology.require(config.party)
    if len(config.peer) != topology.parties - 1 - config.party:
        others = PARTIES[config.party + 1 : topology.parties]
        what = f"give the addresses of {', '.join(others)}" if others else "leave it out"
        raise ConfigError(f"peer: {what}; {PARTIES[config.party]} dials {len(others) or 'nobody'}")
    if (config.dealer is not None) != topology.dealer:
        what = "needs a dealer: give its address" if topology.dealer else "knows no dealer: leave it out"
        raise ConfigError(f"dealer: the protocol {program.identity.protocol} {what}")
    if topology.dealer:
        _check_dealt(topology, program.identity.protocol)
    if program.sessions is not None and not topology.dealer:
        raise ConfigError("sessions need a dealer: this program has none")


def _check_dealt(topology: Topology, protocol: str) -> None:
    if not topology.dealer:
        raise ConfigError(f"the protocol {protocol} knows no dealer: start none")
    if topology.parties != 2:
        raise ConfigError(f"a dealer prepares for two parties, not for {topology.parties}")


def _calls(config: PartyConfig) -> int:
    """Return how many calls one caller may need: as a client what computes and waits, as party 0 what it asks."""
    waiting = share_of(config.max_waiting, config.max_waiting_each)
    return max(waiting + share_of(config.max_sessions, config.max_sessions_each), 2 * config.max_sessions)


def _check_shapes(config: PartyConfig, program: PartyProgram) -> None:
    ready = 0
    for shape in config.shapes:
        try:
            sizes = served(program.queries, QUERIES).stock_sizes(shape)
        except InputError as error:
            raise ConfigError(f"shapes: {shape.task}:{shape.batch}:{shape.tokens}: {error}") from error
        ready += config.ahead * file_bytes(sizes)
    if ready > config.max_store_bytes:
        raise ConfigError(f"ahead: what is to be kept ready takes {ready} bytes, max_store_bytes is less")
