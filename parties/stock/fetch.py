"""What a party asks of the dealer: a new preparation, its own half of one, and to drop what it gives up."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc

from privinf.errors import ConfigError, MismatchError, PeerLost
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import Deadline, persist
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import identity_message, read_id, read_identity, require_same, shape_message
from privinf.parties.rpc.methods import CREATE, DROP, FETCH
from privinf.parties.rpc.status import restore
from privinf.parties.served import QUERIES, served
from privinf.parties.stock.places import Places
from privinf.parties.stock.record import Record, file_bytes
from privinf.parties.stock.store import Place, PreparationStore
from privinf.protocols.contract import ID_BYTES, PartyProgram, QueryShape, StockSizes
from privinf.v1 import dealer_pb2

OnEnd = Callable[[Callable[[], None]], None]  # given what cancels a call once it is not wanted
_DROP_SECONDS = 5.0  # for the dealer to hear of it; one that does not ends the order itself, a little later


class DealerLink:
    """A party's way to the dealer, into its store."""

    def __init__(
        self, dealer: Peer, program: PartyProgram, store: PreparationStore, connect_seconds: float
    ) -> None:
        self._dealer, self._program, self._store = dealer, program, store
        self._connect_seconds = connect_seconds
        self._places = Places()

    @contextlib.contextmanager
    def order(self, shape: QueryShape, epoch: bytes, life: Life) -> Iterator[tuple[Place, Record]]:
        """Have a preparation drawn, as party 0: give room for our half, and what is known of it.

        A place at the dealer is waited for, and room taken here, before it hears of the order. Whoever fails within
        gives the order up, also if the dealer's word of it was lost.
        """
        order, sizes = secrets.token_bytes(ID_BYTES), self._sizes(shape)
        with self._places.hold(life), self._store.place(sizes) as place, self._or_drop(order=order):
            yield place, self._record(self._created(shape, order, life), shape, epoch)

    def join(
        self, preparation_id: bytes, shape: QueryShape, epoch: bytes, deadline: Deadline, on_end: OnEnd
    ) -> Record:
        """Store our half of what party 0 has ordered, as party 1; what we fail to store is dropped for both."""
        with self._or_drop(preparation_id=preparation_id), self._store.place(self._sizes(shape)) as place:
            return self.fetch(place, self._record(preparation_id, shape, epoch), deadline, on_end)

    @contextlib.contextmanager
    def _or_drop(self, **which: bytes) -> Iterator[None]:
        """Tell the dealer if this fails; nobody waits for its answer."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(ValueError, ConfigError):
                # the channel is closed, or our certificate has expired
                request = dealer_pb2.DropRequest(**which)
                DROP.on(self._dealer).future(request, timeout=_DROP_SECONDS, metadata=self._dealer.metadata)
            raise

    def _created(self, shape: QueryShape, order: bytes, life: Life) -> bytes:
        """Return the id of a preparation; asked again under one order, the dealer draws no second one."""
        request = dealer_pb2.CreateRequest(
            identity=identity_message(self._program.identity), shape=shape_message(shape), order=order
        )
        reply = persist(lambda: self._reply(request, life), self._connect_seconds, life.deadline)
        self._places.learn(reply.places)
        require_same(self._program.identity, read_identity(reply.identity), "dealer")
        if (reply.bytes0, reply.bytes1)[self._program.index] != self._sizes(shape).preparation:
            raise MismatchError("dealer differs in the size of a preparation")
        return read_id(reply.preparation_id, "a preparation id")

    def _reply(self, request: dealer_pb2.CreateRequest, life: Life) -> dealer_pb2.CreateReply:
        call: grpc.Future[dealer_pb2.CreateReply] = CREATE.on(self._dealer).future(
            request, timeout=life.deadline.left("offline"), metadata=self._dealer.metadata
        )
        life.on_end(call.cancel)
        try:
            return call.result()
        except grpc.FutureCancelledError as error:
            raise life.error or PeerLost("the order was dropped") from error
        except grpc.RpcError as error:
            raise restore(error, "dealer", phase="offline") from error

    def room(self, shape: QueryShape) -> int:
        """Return what a preparation takes from our store."""
        return file_bytes(self._sizes(shape))

    def _sizes(self, shape: QueryShape) -> StockSizes:
        return served(self._program.queries, QUERIES).stock_sizes(shape)

    def _record(self, preparation_id: bytes, shape: QueryShape, epoch: bytes) -> Record:
        return Record(preparation_id, shape, self._program.identity, self._sizes(shape), epoch=epoch)

    def fetch(self, place: Place, record: Record, deadline: Deadline, on_end: OnEnd) -> Record:
        """Store our half of a preparation.

        The deadline and a cancellation end the stream; neither interrupts what the program prepares after it.
        """
        prepare = partial(served(self._program.queries, QUERIES).prepare, record.shape)
        identity = identity_message(record.identity)
        request = dealer_pb2.FetchRequest(preparation_id=record.preparation_id, identity=identity)
        fetch, left = FETCH.on(self._dealer), deadline.left("offline")
        call = fetch(request, timeout=left, metadata=self._dealer.metadata)
        on_end(call.cancel)
        try:
            return self._store.receive(place, record, _messages(call), prepare)
        finally:
            call.cancel()


def _messages(call: Any) -> Iterator[bytes]:
    try:
        yield from call
    except grpc.RpcError as error:
        raise restore(error, "dealer", phase="offline") from error
