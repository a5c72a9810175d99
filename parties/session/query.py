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
from privinf.parties.session.channel import SessionLink
from privinf.parties.session.greeting import Session
from privinf.parties.stock.keeper import Keeper
from privinf.parties.stock.spool import Preparation, sized
from privinf.parties.stock.store import PreparationStore
from privinf.parties.stock.supply import Supply
from privinf.protocols.contract import PartyQueries, QueryShape, Stock
from privinf.v1 import party_pb2

_PREPARATIONS = 3  # that one query may use up, if each is found changed


@dataclass(frozen=True)
class Query:
    """What a client asked of this party."""

    shape: QueryShape
    share: memoryview = field(repr=False)
    life: Life


class Engine:
    """Answers queries with a program; where a dealer prepares there is a supply, at party 0 with a keeper."""

    def __init__(self, queries: PartyQueries | None, supply: Supply | None, log: Log) -> None:
        self._queries, self._supply, self._log = queries, supply, log

    def answer(self, query: Query, session: Session) -> party_pb2.InferReply:
        """Run a session after its greeting; the caller ends it if this raises.

        A preparation that either party finds changed, before the byte is used, is dropped by both for another one.
        """
        began = time.monotonic()
        if self._supply is None:
            return self._evaluate(query, session, None, 0.0)
        for left in reversed(range(_PREPARATIONS)):
            try:
                return self._attempt(query, session, self._supply, began, fresh=not left)
            except DamagedPreparation as error:
                self._log.failure("preparation", error)
                if not left or session.only.stream.closed:
                    raise
                _restart(session.only.link, error)
        raise AssertionError

    def _attempt(
        self, query: Query, session: Session, supply: Supply, began: float, fresh: bool
    ) -> party_pb2.InferReply:
        session.enter("offline")
        link, keeper = session.only.link, supply.keeper
        if keeper is None:
            preparation = _follow(link, query, supply.store)
        else:
            preparation = _lead(link, query, supply.store, keeper, fresh)
        try:
            return self._evaluate(query, session, preparation, time.monotonic() - began)
        except BaseException:
            if keeper is not None:
                keeper.discard(preparation.record.preparation_id)
            raise
        finally:
            preparation.close()
            if keeper is not None:
                keeper.wake()

    def _evaluate(
        self, query: Query, session: Session, preparation: Preparation | None, offline: float
    ) -> party_pb2.InferReply:
        queries, began, record = served(self._queries, QUERIES), time.monotonic(), None
        stock, sizes = None, queries.sizes(query.shape)
        session.enter("online")
        if preparation is not None:
            record = preparation.record
            if not sized(record, queries):
                raise MismatchError("the preparation has other sizes than the program takes")
            stock = Stock(record.preparation_id, record.seed, preparation, preparation.precomputed)
        share = query.share.toreadonly()  # it may be asked of another preparation
        result = queries.evaluate(query.shape, share, stock, session)
        if preparation is not None and preparation.remaining:
            raise ProtocolError(f"{preparation.remaining} bytes of the preparation were not used")
        if len(result) != sizes.result:
            raise ProtocolError("the program's result has another size than it says")
        self._finish(session)
        prepared = (record.prepare_seconds, record.sizes.preparation) if record else (0.0, 0)
        return party_pb2.InferReply(result=result, stats=session.stats(began, offline, *prepared))

    def _finish(self, session: Session) -> None:
        try:
            session.finish()
        except DamagedPreparation:
            if self._supply is not None:  # else nothing can be begun anew, with any number of others
                session.only.link.told()
            raise


def _lead(
    link: SessionLink, query: Query, store: PreparationStore, keeper: Keeper, fresh: bool
) -> Preparation:
    """Choose a preparation. Party 1 hears of it while our disk marks it: an id is no part of it."""
    with unstarted():
        preparation_id = keeper.obtain(query.shape, query.life, fresh)
    try:
        link.say(Kind.BEGIN, preparation_id)
        return store.claim(preparation_id, query.shape)
    except BaseException:
        keeper.discard(preparation_id)
        raise


def _follow(link: SessionLink, query: Query, store: PreparationStore) -> Preparation:
    preparation_id = read_id(bytes(link.hear(Kind.BEGIN)), "a preparation id")
    try:
        return store.claim(preparation_id, query.shape)
    except MismatchError as error:  # lost here, which party 0 hears no sooner than it asks
        raise DamagedPreparation(str(error)) from error


def _restart(link: SessionLink, error: DamagedPreparation) -> None:
    """Agree with the other party to begin anew; where it is at its end already, the query is over."""
    try:
        link.restart()
    except (PeerLost, ProtocolError):
        raise error from None
