"""One query on one party: agree with the other on a preparation, spend it, evaluate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from privinf.errors import DamagedPreparation, MismatchError, PeerLost, ProtocolError
from privinf.parties.logs import Log
from privinf.parties.rpc.frames import Kind
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import read_id
from privinf.parties.rpc.seats import unstarted
from privinf.parties.served import QUERIES, served
from privinf.parties.session.channel import SessionChannel
from privinf.parties.session.streams import PeerStream
from privinf.parties.stock.keeper import Keeper
from privinf.parties.stock.spool import Preparation, sized
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import PartyQueries, QueryShape, Stock
from privinf.v1 import party_pb2

_PREPARATIONS = 3  # that one query may use up, if each is found changed


@dataclass(frozen=True)
class Query:
    """What a client asked of this party."""

    session: bytes
    shape: QueryShape
    share: memoryview = field(repr=False)
    life: Life


@dataclass
class Answer:
    """This party's share of the answer, and what it took."""

    result: bytes = field(repr=False)
    stats: party_pb2.Stats


class Engine:
    """Answers queries with a program; party 0 has a keeper, party 1 none."""

    def __init__(
        self, queries: PartyQueries | None, store: PreparationStore, keeper: Keeper | None, log: Log
    ) -> None:
        self._queries, self._store, self._keeper, self._log = queries, store, keeper, log

    def answer(self, query: Query, stream: PeerStream, channel: SessionChannel) -> Answer:
        """Run a session after its greeting; the caller ends it if this raises.

        A preparation that either party finds changed, before the byte is used, is dropped by both for another one.
        """
        began = time.monotonic()
        for left in reversed(range(_PREPARATIONS)):
            try:
                return self._attempt(query, stream, channel, began, fresh=not left)
            except DamagedPreparation as error:
                self._log.failure("preparation", error)
                if not left or stream.closed:
                    raise
                _restart(channel, error)
        raise AssertionError

    def _attempt(
        self, query: Query, stream: PeerStream, channel: SessionChannel, began: float, fresh: bool
    ) -> Answer:
        stream.phase = "offline"
        preparation = self._lead(channel, query, fresh) if self._keeper else self._follow(channel, query)
        offline = time.monotonic() - began
        try:
            return self._evaluate(channel, query, preparation, stream, offline)
        finally:
            preparation.close()
            if self._keeper is not None:
                self._keeper.wake()

    def _lead(self, channel: SessionChannel, query: Query, fresh: bool) -> Preparation:
        """Choose a preparation. Party 1 hears of it while our disk marks it: an id is no part of it."""
        assert self._keeper is not None
        with unstarted():
            preparation_id = self._keeper.obtain(query.shape, query.life, fresh)
        try:
            channel.say(Kind.BEGIN, preparation_id)
            return self._store.claim(preparation_id, query.shape)
        except BaseException:
            self._keeper.discard(preparation_id)
            raise

    def _follow(self, channel: SessionChannel, query: Query) -> Preparation:
        preparation_id = read_id(bytes(channel.hear(Kind.BEGIN)), "a preparation id")
        try:
            return self._store.claim(preparation_id, query.shape)
        except MismatchError as error:  # lost here, which party 0 hears no sooner than it asks
            raise DamagedPreparation(str(error)) from error

    def _evaluate(
        self,
        channel: SessionChannel,
        query: Query,
        preparation: Preparation,
        stream: PeerStream,
        offline: float,
    ) -> Answer:
        record, began, stream.phase = preparation.record, time.monotonic(), "online"
        try:
            if not sized(record, self._queries):
                raise MismatchError("the preparation has other sizes than the program takes")
            share = query.share.toreadonly()  # it may be asked of another preparation
            stock = Stock(record.preparation_id, record.seed, preparation, preparation.precomputed)
            result = served(self._queries, QUERIES).evaluate(query.shape, share, stock, channel)
            self._check(result, preparation, query.shape)
            self._finish(stream, channel)
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

    def _finish(self, stream: PeerStream, channel: SessionChannel) -> None:
        try:
            stream.finish(self._keeper is not None)
        except DamagedPreparation:
            channel.told()
            raise

    def _check(self, result: bytes, preparation: Preparation, shape: QueryShape) -> None:
        if preparation.remaining:
            raise ProtocolError(f"{preparation.remaining} bytes of the preparation were not used")
        if len(result) != served(self._queries, QUERIES).sizes(shape).result:
            raise ProtocolError("the program's result has another size than it says")


def _restart(channel: SessionChannel, error: DamagedPreparation) -> None:
    """Agree with the other party to begin anew; where it is at its end already, the query is over."""
    try:
        channel.restart()
    except (PeerLost, ProtocolError):
        raise error from None
