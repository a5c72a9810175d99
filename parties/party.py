"""A party's calls: attest, infer, generate, the session with the other party, and the upkeep of preparations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc

from privinf.config import PartyConfig
from privinf.errors import DeadlineExceeded, InputError, PrivinfError, ProtocolError, Unauthenticated
from privinf.parties.logs import Log
from privinf.parties.metrics import Meters
from privinf.parties.rpc import methods
from privinf.parties.rpc.admission import Admission, Parked, Queue, Room
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.guard import Guard
from privinf.parties.rpc.incoming import Requests
from privinf.parties.rpc.life import when_over
from privinf.parties.rpc.messages import identity_message, read_id, read_identity, read_shape, require_same
from privinf.parties.rpc.parts import WHOLE_LIMIT, filled
from privinf.parties.rpc.roles import PARTIES
from privinf.parties.rpc.seats import share_of
from privinf.parties.rpc.status import attribute
from privinf.parties.served import QUERIES, served
from privinf.parties.session.generations import Generations
from privinf.parties.session.greeting import Greeter
from privinf.parties.session.query import Engine, Query
from privinf.parties.session.sessions import Sessions
from privinf.parties.stock.dealt import PassLink
from privinf.parties.stock.supply import Supply
from privinf.protocols.contract import PartyProgram, QueryShape
from privinf.v1 import common_pb2, party_pb2


class PartyCalls:
    """What a party answers."""

    def __init__(
        self, config: PartyConfig, program: PartyProgram, peers: dict[str, Peer], log: Log, meters: Meters
    ) -> None:
        self._config, self._program, self._log, self._meters = config, program, log, meters
        self._role = PARTIES[config.party]
        dialled = {PARTIES.index(role): peer for role, peer in peers.items() if role != "dealer"}
        self._sessions = Sessions(config.max_sessions, config.party)
        self._admission = self._admitting(config)
        self._greeter = Greeter(config, program.identity, dialled, self._sessions)
        self._supply: Supply | None = None
        link: PassLink | None = None
        if program.topology.dealer:
            self._supply = Supply(config, program, peers["dealer"], dialled.get(1), log)
            link = PassLink(peers["dealer"], program.identity, config.connect_seconds)
        self._engine = Engine(program.queries, self._supply, log)
        self._generations = Generations(
            config, program, self._sessions, self._admission, self._greeter, link, log, meters
        )
        meters.watch(
            sessions=lambda: self._admission.running,
            waiting=lambda: self._admission.waiting,
            ready=lambda: len(self._supply.store.held()) if self._supply else 0,
            store_bytes=lambda: self._supply.store.usage() if self._supply else 0,
            memory_bytes=lambda: self._supply.store.usage(in_memory=True) if self._supply else 0,
            spare_bytes=lambda: self._supply.store.pages.spare if self._supply else 0,
        )

    def handlers(self, guard: Guard) -> grpc.GenericRpcHandler:
        """Return the calls of this party, each behind the check of its caller's role."""
        calls: dict[methods.Method, Any] = {
            methods.ATTEST_PARTY: self.attest,
            methods.INFER: self.infer,
            methods.GENERATE: self._generations.generate,
            methods.STATUS: self.status,
        }
        if self._config.party:
            calls[methods.SESSION] = self.session
        if self._config.party and self._supply is not None:
            calls[methods.PREFETCH] = self._supply.prefetch
            calls[methods.RECONCILE] = self._supply.reconcile
        return guard.handlers(calls)

    def start(self) -> None:
        """Begin to keep preparations ready."""
        if self._supply is not None:
            self._supply.start()

    def drain(self) -> None:
        """Admit no more queries, and no more passes."""
        self._admission.close()
        self._sessions.close()
        self._generations.drain()
        if self._supply is not None:
            self._supply.drain()

    def close(self) -> None:
        """Leave the store to the next process."""
        self._generations.close()
        if self._supply is not None:
            self._supply.store.close()

    def attest(
        self, request: common_pb2.AttestRequest, context: grpc.ServicerContext, caller: str
    ) -> common_pb2.AttestReply:
        """Say what this party computes."""
        return common_pb2.AttestReply(identity=identity_message(self._program.identity), role=self._role)

    def status(
        self, request: party_pb2.StatusRequest, context: grpc.ServicerContext, caller: str
    ) -> party_pb2.StatusReply:
        """Count what is ready."""
        supply = self._supply
        return party_pb2.StatusReply(
            ready=supply.ready() if supply else [],
            sessions=self._admission.running,
            max_sessions=self._config.max_sessions,
            waiting=self._admission.waiting,
            max_waiting=self._config.max_waiting,
            max_batch=self._config.max_batch,
            store_bytes=supply.store.usage() if supply else 0,
            max_store_bytes=self._config.max_store_bytes,
        )

    def infer(
        self, requests: Requests[party_pb2.InferRequest], context: grpc.ServicerContext, caller: str
    ) -> Iterator[party_pb2.InferReply]:
        """Answer a query: the client calls this on both parties."""
        session: bytes | None = None
        try:
            opened: party_pb2.InferOpen = requests.opening("a query begins with its opening")
            session = read_id(opened.session_id, "a session id")
            shape = self._shape(opened)
            self._sessions.begin(session)
            with (
                self._admission.place(requests.client, requests.life),
                self._greeter.greeted(session, shape, requests.life, context) as met,
            ):
                yield party_pb2.InferReply(admitted=True)
                share = _share(requests, served(self._program.queries, QUERIES).sizes(shape).query)
                query = Query(shape, share, requests.life)
                answer = self._engine.answer(query, met)
        except PrivinfError as error:
            raise attribute(error, self._role, session) from error
        stats = answer.stats
        self._meters.answered(stats, "query")
        seconds = round(stats.online_seconds, 6)
        self._log.info("answered", session=session.hex(), rounds=stats.rounds, seconds=seconds)
        yield answer

    def session(
        self, requests: Requests[bytes], context: grpc.ServicerContext, caller: str
    ) -> Iterator[bytes]:
        """Carry the frames of one session, as long as its query on this party takes."""
        if PARTIES.index(caller) >= self._config.party:
            raise Unauthenticated(
                f"{caller} may not call {methods.SESSION.name} on {self._role}: it is dialled"
            )
        session, stream = self._sessions.arrive(requests.only(), requests.raw, context.cancel, caller)
        when_over(context, partial(self._sessions.depart, session, stream))
        seconds = self._config.greet_seconds
        late = DeadlineExceeded(f"no client asked for this session in {seconds:g} s", phase="connect")
        expire = partial(self._sessions.expire, session, stream, late)
        with requests.life.watched(seconds, str(late), expire):
            yield from stream.outgoing

    def _admitting(self, config: PartyConfig) -> Admission:
        """Return who decides on places."""
        each = share_of(config.max_sessions, config.max_sessions_each)
        waiting = share_of(config.max_waiting, config.max_waiting_each)
        room = Room(config.max_sessions, each, config.max_waiting, waiting)
        if config.party:
            return Parked(room, lambda: self._sessions.count)
        return Queue(room, config.wait_seconds, self._meters.waited, self._meters.refused)

    def _shape(self, opened: party_pb2.InferOpen) -> QueryShape:
        require_same(self._program.identity, read_identity(opened.identity), "client")
        shape = read_shape(opened.shape)
        if served(self._program.queries, QUERIES).sizes(shape).result > WHOLE_LIMIT:
            raise InputError(f"a share of this answer exceeds {WHOLE_LIMIT} bytes")
        return shape


def _share(requests: Requests[party_pb2.InferRequest], nbytes: int) -> memoryview:
    """Read a share of exactly `nbytes`, with which the requests end."""
    chunks = (request.chunk if request.WhichOneof("part") == "chunk" else None for request in requests)
    share = filled(nbytes, "query", chunks)
    if next(requests, None) is not None:
        raise ProtocolError(f"a share of this query has {nbytes} bytes, no more")
    return share
