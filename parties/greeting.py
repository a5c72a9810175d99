"""How a session between the two parties opens: they meet, and compare what they are and what they were asked."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from privinf.config import PartyConfig
from privinf.errors import MismatchError, ProtocolError
from privinf.parties.channel import SessionChannel
from privinf.parties.credentials import Peer
from privinf.parties.deadline import Deadline, persist
from privinf.parties.frames import Kind
from privinf.parties.messages import (
    identity_message,
    read_identity,
    read_session_shape,
    read_shape,
    require_same,
    session_shape_message,
    shape_message,
)
from privinf.parties.sessions import PeerStream, Sessions, guarding, open_stream
from privinf.protocols.program import Identity, QueryShape, SessionShape
from privinf.v1 import party_pb2


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

    def greet(
        self,
        session: bytes,
        asked: QueryShape | SessionShape,
        deadline: Deadline,
        context: grpc.ServicerContext,
    ) -> Session:
        """Meet the other party and compare, before a preparation is touched; try again while it is not there."""
        return persist(
            lambda: self._greet(session, asked, deadline, context), self._config.connect_seconds, deadline
        )

    def _greet(
        self,
        session: bytes,
        asked: QueryShape | SessionShape,
        deadline: Deadline,
        context: grpc.ServicerContext,
    ) -> Session:
        party = self._config.party
        stream = self._stream(session, deadline, context)
        stream.deadline = deadline
        with guarding(stream, party):
            channel = SessionChannel(stream.send, stream, session, party)
            channel.say(Kind.HELLO, self.hello(asked).SerializeToString())
            theirs = _parse(channel.hear(Kind.HELLO))
            self._compare(theirs, asked)
        return Session(stream, channel, theirs)

    def _compare(self, theirs: party_pb2.Hello, asked: QueryShape | SessionShape) -> None:
        other = f"party{1 - self._config.party}"
        require_same(self._identity, read_identity(theirs.identity), other)
        if _asked(theirs) != asked:
            raise MismatchError(f"{other} was asked another shape")

    def _stream(self, session: bytes, deadline: Deadline, context: grpc.ServicerContext) -> PeerStream:
        """Open or meet the session's stream, to be cut when the client is gone."""
        if self._other is not None:
            stream = open_stream(self._other, deadline)
        else:
            context.add_callback(self._sessions.wake)
            stream = self._sessions.meet(session, deadline, context.is_active)
        if not context.add_callback(stream.cut):
            stream.cut()
        return stream


def _asked(hello: party_pb2.Hello) -> QueryShape | SessionShape:
    if hello.WhichOneof("asked") == "generation":
        return read_session_shape(hello.generation)
    return read_shape(hello.shape)


def _parse(payload: memoryview) -> party_pb2.Hello:
    try:
        return party_pb2.Hello.FromString(bytes(payload))
    except DecodeError as error:
        raise ProtocolError("a session that does not begin with identity and shape") from error
