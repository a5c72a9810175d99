"""How a session between the parties opens: they meet, and compare what they are and what they were asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc

from privinf.config import PartyConfig
from privinf.errors import MismatchError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import persist
from privinf.parties.rpc.frames import Kind
from privinf.parties.rpc.life import Life, when_over
from privinf.parties.rpc.messages import (
    identity_message,
    read_identity,
    read_session_shape,
    read_shape,
    require_same,
    session_shape_message,
    shape_message,
)
from privinf.parties.rpc.parts import parse
from privinf.parties.rpc.roles import PARTIES
from privinf.parties.session.channel import SessionLink
from privinf.parties.session.sessions import Sessions
from privinf.parties.session.streams import PeerStream, guarding, open_stream
from privinf.protocols.contract import Identity, QueryShape, SessionShape
from privinf.v1 import party_pb2

# Seconds beyond its own patience in which a party that is dialled is heard say what is wrong
_SAYS_WHY: Final = 2.0


Counts = tuple[int, int, int]


@dataclass(frozen=True)
class Met:
    """One other party, greeted; `theirs` is what it said."""

    stream: PeerStream
    link: SessionLink
    theirs: party_pb2.Hello


@dataclass(frozen=True)
class Session:
    """All other parties, greeted: the channel of a program."""

    others: Mapping[int, Met]

    def to(self, peer: int) -> SessionLink:
        """Return the link to a party."""
        return self.others[peer].link

    @property
    def only(self) -> Met:
        """The other of two parties."""
        (other,) = self.others.values()
        return other

    @property
    def counts(self) -> Counts:
        """Rounds of the link that had most, payload sent in them to all, and everything sent to all."""
        rounds, online, wire = zip(*(met.link.counts for met in self.others.values()), strict=True)
        return max(rounds), sum(online), sum(wire)

    def stats(
        self, began: float, offline: float, prepared: float, nbytes: int, before: Counts = (0, 0, 0)
    ) -> party_pb2.Stats:
        """Say what a query or a pass took: since when, what it waited for, and what was prepared for it."""
        rounds, online, wire = (now - then for now, then in zip(self.counts, before, strict=True))
        return party_pb2.Stats(
            rounds=rounds,
            online_seconds=time.monotonic() - began,
            offline_seconds=offline,
            prepare_seconds=prepared,
            online_bytes=online,
            wire_bytes=wire,
            preparation_bytes=nbytes,
        )

    def enter(self, phase: str) -> None:
        """Say what a wait for a party is part of from here on."""
        for met in self.others.values():
            met.stream.phase = phase

    def finish(self) -> None:
        """All have read their last frame when this returns."""
        for met in self.others.values():
            met.stream.finish()


class Greeter:
    """Opens the sessions of one party: it meets those of a lower index, and dials the others."""

    def __init__(
        self, config: PartyConfig, identity: Identity, dialled: Mapping[int, Peer], sessions: Sessions
    ) -> None:
        self._config, self._identity, self._dialled, self._sessions = config, identity, dialled, sessions

    def hello(self, asked: QueryShape | SessionShape) -> party_pb2.Hello:
        """Return what we say of ourselves and of what we were asked."""
        identity = identity_message(self._identity)
        if isinstance(asked, QueryShape):
            return party_pb2.Hello(identity=identity, shape=shape_message(asked))
        generation = session_shape_message(asked)
        return party_pb2.Hello(
            identity=identity, generation=generation, passes_ahead=self._config.passes_ahead
        )

    @contextmanager
    def greeted(
        self, session: bytes, asked: QueryShape | SessionShape, life: Life, context: grpc.ServicerContext
    ) -> Iterator[Session]:
        """Meet all other parties and compare, before a preparation is touched; one that fails is told, and ended."""
        life.on_end(self._sessions.wake)
        seconds = self._config.wait_seconds + self._config.greet_seconds
        greet = partial(self._greet, session=session, asked=asked, life=life, context=context)
        with ExitStack() as stack:
            others: dict[int, Met] = {}
            for peer in range(self._config.party):
                stream = stack.enter_context(self._sessions.met(session, life, seconds, PARTIES[peer]))
                others[peer] = greet(peer, stream)
                stack.enter_context(_watched(stream, life))
            for peer, other in self._dialled.items():
                others[peer] = self._dial(other, life, partial(greet, peer))
                stack.enter_context(_watched(others[peer].stream, life))
            yield Session(others)

    def _dial(self, other: Peer, life: Life, greet: Callable[[PeerStream], Met]) -> Met:
        """Dial until the other party is there."""
        deadline = life.deadline
        return persist(lambda: greet(open_stream(other, deadline)), self._config.connect_seconds, deadline)

    def _greet(
        self,
        peer: int,
        stream: PeerStream,
        session: bytes,
        asked: QueryShape | SessionShape,
        life: Life,
        context: grpc.ServicerContext,
    ) -> Met:
        config = self._config
        stream.live(life, config.greet_seconds + (_SAYS_WHY if peer in self._dialled else 0.0))
        when_over(context, stream.cut)  # it ends when the client is gone
        with guarding(stream):
            link = SessionLink(stream.outgoing.put, stream, session, config.party, peer)
            link.say(Kind.HELLO, self.hello(asked).SerializeToString())
            theirs = parse(party_pb2.Hello, bytes(link.hear(Kind.HELLO)))
            require_same(self._identity, read_identity(theirs.identity), stream.role)
            if _asked(theirs) != asked:
                raise MismatchError(f"{stream.role} was asked another shape")
        stream.live(life, max(config.idle_seconds, config.prepare_seconds))
        return Met(stream, link, theirs)


@contextmanager
def _watched(stream: PeerStream, life: Life) -> Iterator[None]:
    """Guard a stream from its greeting on; the call is over with it, while another party is waited for too."""
    with guarding(stream):
        stream.watch(lambda: life.end(stream.verdict()))
        yield


def _asked(hello: party_pb2.Hello) -> QueryShape | SessionShape:
    if hello.WhichOneof("asked") == "generation":
        return read_session_shape(hello.generation)
    return read_shape(hello.shape)
