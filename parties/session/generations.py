"""A party's part in generations: it meets the other party for each, has it fed, and frees all of it at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from privinf.config import PartyConfig
from privinf.errors import InputError, PrivinfError
from privinf.parties.logs import Log
from privinf.parties.memory import Idle
from privinf.parties.metrics import Meters
from privinf.parties.rpc.admission import Admission
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import Kind
from privinf.parties.rpc.incoming import Requests
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.lives import Lives
from privinf.parties.rpc.messages import read_id, read_identity, read_session_shape, require_same
from privinf.parties.rpc.seats import unstarted
from privinf.parties.rpc.status import attribute
from privinf.parties.served import SESSIONS, served
from privinf.parties.session.channel import SessionLink
from privinf.parties.session.feeder import Feeder
from privinf.parties.session.generation import Generation
from privinf.parties.session.greeting import Greeter, Met
from privinf.parties.session.inbox import Inbox
from privinf.parties.session.journal import Journal
from privinf.parties.session.sessions import Sessions
from privinf.parties.stock.dealt import DealtStream, PassLink
from privinf.protocols.contract import PartyProgram, PartySession, SessionShape
from privinf.v1 import party_pb2


class Generations:
    """The generations of one party."""

    def __init__(
        self,
        config: PartyConfig,
        program: PartyProgram,
        sessions: Sessions,
        admission: Admission,
        greeter: Greeter,
        link: PassLink | None,
        log: Log,
        meters: Meters,
    ) -> None:
        self._config, self._program, self._sessions, self._greeter = config, program, sessions, greeter
        self._admission, self._link, self._log, self._meters = admission, link, log, meters
        self._journal = Journal(config.journal, config.max_journal_bytes) if config.journal else None
        self._lives = Lives()
        self._idle = Idle(lambda: bool(self._lives.now()))

    def drain(self) -> None:
        """Have each end after the pass under way."""
        for life in self._lives.now():
            life.drain()

    def close(self) -> None:
        """End the journal."""
        self._idle.close()
        if self._journal is not None:
            self._journal.close()

    def generate(
        self, requests: Requests[party_pb2.GenerateRequest], context: grpc.ServicerContext, caller: str
    ) -> Iterator[party_pb2.GenerateReply]:
        """Answer the passes of a generation: the client calls this on both parties."""
        session: bytes | None = None
        try:
            with self._lives.holding(requests.life):
                inbox = Inbox(requests, self._config.idle_seconds)
                opened = inbox.opening()
                session = read_id(opened.session_id, "a session id")
                yield from self._opened(opened, inbox, context)
        except PrivinfError as error:
            raise attribute(error, f"party{self._config.party}", session) from error
        finally:
            self._idle.ended()  # after the last one memory is given back

    def _opened(
        self, opened: party_pb2.GenerateOpen, inbox: Inbox, context: grpc.ServicerContext
    ) -> Iterator[party_pb2.GenerateReply]:
        began = time.monotonic()
        require_same(self._program.identity, read_identity(opened.identity), "client")
        shape = self._bounded(read_session_shape(opened.shape))
        running, life = served(self._program.sessions, SESSIONS).begin(shape), inbox.requests.life
        self._sessions.begin(opened.session_id)
        with (
            self._admission.place(inbox.requests.client, life),
            self._greeter.greeted(opened.session_id, shape, life, context) as met,
        ):
            met.enter("offline")
            with self._fed(running, shape, met.only, life, context) as feeder:
                met.enter("online")
                yield party_pb2.GenerateReply(admitted=True)
                generation = Generation(running, feeder, inbox, met, self._journal)
                for reply in generation.run():
                    self._meters.answered(reply.stats, "pass")
                    yield reply
                met.finish()
        took = round(time.monotonic() - began, 6)
        self._log.info("generated", session=opened.session_id.hex(), passes=generation.passes, seconds=took)

    def _bounded(self, shape: SessionShape) -> SessionShape:
        """The same, unless its passes would take more memory than this party lets one generation have."""
        most = self._config.max_batch
        if shape.batch > most:
            raise InputError(f"{shape.batch} prompts together: this server takes {most} in one generation")
        return shape

    @contextmanager
    def _fed(
        self, running: PartySession, shape: SessionShape, met: Met, life: Life, context: grpc.ServicerContext
    ) -> Iterator[Feeder]:
        """Give a feeder, and end all feeding afterwards."""
        leads = self._config.party == 0
        ahead = max(1, min(self._config.passes_ahead, met.theirs.passes_ahead))
        with unstarted():
            dealt = self._dealt(met.link, shape, life.deadline, context)
        # Party 0 may be a pass further in what it has taken: then the dealer need not wait for us.
        most = self._config.max_ahead_bytes
        feeder = Feeder(running, dealt, life, leads, ahead if leads else ahead + 1, most, self._log)
        try:
            feeder.start()
            yield feeder
        finally:
            dealt.cancel()

    def _dealt(
        self, link: SessionLink, shape: SessionShape, deadline: Deadline, context: grpc.ServicerContext
    ) -> DealtStream:
        """Have a generation begun at the dealer, or join the one that party 0 has begun."""
        assert self._link is not None  # a server without a dealer has no sessions
        if self._config.party == 1:
            preparation_id = read_id(bytes(link.hear(Kind.BEGIN)), "a preparation id")
            return self._link.join(preparation_id, deadline, context)
        dealt = self._link.begin(shape, deadline, context)
        link.say(Kind.BEGIN, dealt.preparation_id)
        return dealt
