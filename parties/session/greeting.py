"""How a session between the two parties opens: they meet, and compare what they are and what they were asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from privinf.config import PartyConfig
from privinf.errors import MismatchError, ProtocolError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import persist
from privinf.parties.rpc.frames import Kind
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import (
    identity_message,
    read_identity,
    read_session_shape,
    read_shape,
    require_same,
    session_shape_message,
    shape_message,
)
from privinf.parties.session.channel import SessionChannel
from privinf.parties.session.sessions import Sessions
from privinf.parties.session.streams import PeerStream, guarding, open_stream
from privinf.protocols.contract import Identity, QueryShape, SessionShape
from privinf.v1 import party_pb2

_SAYS_WHY: Final = 2.0  # seconds beyond its own patience in which party 1 is heard say what is wrong


@dataclass(frozen=True)
class Session:
    """The other party, greeted; `theirs` is what it said."""

    stream: PeerStream
    channel: SessionChannel
    theirs: party_pb2.Hello


class Greeter:
    """Opens the sessions of one party: party 0 dials, party 1 is met."""

    def __init__(
        self, config: PartyConfig, identity: Identity, other: Peer | None, sessions: Sessions
    ) -> None:
        self._config, self._identity, self._other, self._sessions = config, identity, other, sessions

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
        self,
        session: bytes,
        asked: QueryShape | SessionShape,
        life: Life,
        context: grpc.ServicerContext,
    ) -> Iterator[Session]:
        """Meet the other party and compare, before a preparation is touched; party 0 dials until it is there."""
        if self._other is None:
            life.on_end(self._sessions.wake)
            seconds = self._config.wait_seconds + self._config.greet_seconds
            with self._sessions.met(session, life, seconds) as stream:
                yield self._greet(stream, session, asked, life, context)
        else:
            yield self._dialled(self._other, session, asked, life, context)

    def _dialled(
        self,
        other: Peer,
        session: bytes,
        asked: QueryShape | SessionShape,
        life: Life,
        context: grpc.ServicerContext,
    ) -> Session:
        deadline = life.deadline
        return persist(
            lambda: self._greet(open_stream(other, deadline), session, asked, life, context),
            self._config.connect_seconds,
            deadline,
        )

    def _greet(
        self,
        stream: PeerStream,
        session: bytes,
        asked: QueryShape | SessionShape,
        life: Life,
        context: grpc.ServicerContext,
    ) -> Session:
        config = self._config
        stream.live(life, config.greet_seconds + (_SAYS_WHY if config.party == 0 else 0.0))
        if not context.add_callback(stream.cut):  # it ends when the client is gone
            stream.cut()
        with guarding(stream, config.party):
            channel = SessionChannel(stream.send, stream, session, config.party)
            channel.say(Kind.HELLO, self.hello(asked).SerializeToString())
            theirs = _parse(channel.hear(Kind.HELLO))
            self._compare(theirs, asked)
        stream.live(life, max(config.idle_seconds, config.prepare_seconds))
        return Session(stream, channel, theirs)

    def _compare(self, theirs: party_pb2.Hello, asked: QueryShape | SessionShape) -> None:
        other = f"party{1 - self._config.party}"
        require_same(self._identity, read_identity(theirs.identity), other)
        if _asked(theirs) != asked:
            raise MismatchError(f"{other} was asked another shape")


def _asked(hello: party_pb2.Hello) -> QueryShape | SessionShape:
    if hello.WhichOneof("asked") == "generation":
        return read_session_shape(hello.generation)
    return read_shape(hello.shape)


def _parse(payload: memoryview) -> party_pb2.Hello:
    try:
        return party_pb2.Hello.FromString(bytes(payload))
    except DecodeError as error:
        raise ProtocolError("a session that does not begin with identity and shape") from error
