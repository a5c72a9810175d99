"""One query on one party: agree with the other on a preparation, spend it, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import DecodeError

from privinf.errors import MismatchError, PrivinfError, ProtocolError
from privinf.parties.channel import SessionChannel
from privinf.parties.deadline import Deadline
from privinf.parties.frames import Kind
from privinf.parties.keeper import Keeper
from privinf.parties.messages import (
    identity_message,
    read_id,
    read_identity,
    read_shape,
    require_same,
    shape_message,
)
from privinf.parties.sessions import PeerStream
from privinf.parties.spool import Preparation, sized
from privinf.parties.store import PreparationStore
from privinf.protocols.program import PartyProgram, QueryShape
from privinf.v1 import party_pb2

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """What a client asked of this party."""

    session: bytes
    shape: QueryShape
    share: memoryview = field(repr=False)
    deadline: Deadline


@dataclass
class Answer:
    """This party's share of the answer, and what it took."""

    result: bytes = field(repr=False)
    stats: party_pb2.Stats


class Engine:
    """Answers queries with a program; party 0 has a keeper, party 1 none."""

    def __init__(self, program: PartyProgram, store: PreparationStore, keeper: Keeper | None) -> None:
        self._program, self._store, self._keeper = program, store, keeper

    def greet(self, query: Query, stream: PeerStream) -> SessionChannel:
        """Compare program and shape with the other party, before a preparation is touched."""
        channel = SessionChannel(stream.send, stream, query.session, self._program.party)
        identity, shape = identity_message(self._program.identity), shape_message(query.shape)
        channel.say(Kind.HELLO, party_pb2.Hello(identity=identity, shape=shape).SerializeToString())
        hello, other = _hello(channel.hear(Kind.HELLO)), f"party{1 - self._program.party}"
        require_same(self._program.identity, read_identity(hello.identity), other)
        if read_shape(hello.shape) != query.shape:
            raise MismatchError(f"{other} was asked another shape")
        return channel

    def answer(self, query: Query, stream: PeerStream, channel: SessionChannel) -> Answer:
        """Run a session after its greeting; the caller ends it if this raises."""
        began = time.monotonic()
        preparation = self._lead(channel, query) if self._keeper else self._follow(channel, query)
        offline = time.monotonic() - began
        try:
            return self._evaluate(channel, query, preparation, stream, offline)
        finally:
            preparation.close()
            if self._keeper is not None:
                self._keeper.wake()

    def _lead(self, channel: SessionChannel, query: Query) -> Preparation:
        """Choose a preparation. Party 1 hears of it while our disk marks it: an id is no part of it."""
        assert self._keeper is not None
        preparation_id = self._keeper.obtain(query.shape, query.deadline)
        try:
            channel.say(Kind.BEGIN, preparation_id)
            return self._store.claim(preparation_id, query.shape)
        except BaseException:
            self._keeper.discard(preparation_id)
            raise

    def _follow(self, channel: SessionChannel, query: Query) -> Preparation:
        preparation_id = read_id(bytes(channel.hear(Kind.BEGIN)), "a preparation id")
        return self._store.claim(preparation_id, query.shape)

    def _evaluate(
        self,
        channel: SessionChannel,
        query: Query,
        preparation: Preparation,
        stream: PeerStream,
        offline: float,
    ) -> Answer:
        record, began = preparation.record, time.monotonic()
        try:
            if not sized(record, self._program):
                raise MismatchError("the preparation has other sizes than the program takes")
            result = self._program.evaluate(
                query.shape, query.share, preparation, preparation.aside, record.seed, channel
            )
            self._check(result, preparation, query.shape)
            self._finish(stream)
        except BaseException:
            if self._keeper is not None:
                self._keeper.discard(record.preparation_id)
            raise
        stats = party_pb2.Stats(
            rounds=channel.rounds,
            online_seconds=time.monotonic() - began,
            offline_seconds=offline,
            prepare_seconds=record.prepare_seconds,
            online_bytes=channel.online_bytes,
            wire_bytes=channel.wire_bytes,
            preparation_bytes=record.nbytes,
        )
        return Answer(result, stats)

    def _check(self, result: bytes, preparation: Preparation, shape: QueryShape) -> None:
        if preparation.remaining:
            raise ProtocolError(f"{preparation.remaining} bytes of the preparation were not used")
        if len(result) != self._program.result_bytes(shape):
            raise ProtocolError("the program's result has another size than it says")

    def _finish(self, stream: PeerStream) -> None:
        """Both have read their last frame when this returns: party 0 closes first, party 1 after it."""
        if self._program.party == 0:
            stream.close()
            stream.expect_end()
        else:
            stream.expect_end()
            stream.close()


def _hello(payload: memoryview) -> party_pb2.Hello:
    try:
        return party_pb2.Hello.FromString(bytes(payload))
    except DecodeError as error:
        raise ProtocolError("a session that does not begin with identity and shape") from error


def guarded(run: Callable[[], T], stream: PeerStream, party: int) -> T:
    """Run a part of a session; one that fails is ended on both sides, and party 1 tells party 0 why."""
    try:
        return run()
    except BaseException as error:
        known = error if isinstance(error, PrivinfError) else PrivinfError()
        stream.close(known if party == 1 else None)
        if party == 0:
            stream.cancel()
        raise
