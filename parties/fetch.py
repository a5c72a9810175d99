"""What a party asks of the dealer: a new preparation, and its own half of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import grpc

from privinf.errors import MismatchError
from privinf.parties.credentials import Peer
from privinf.parties.deadline import Deadline, persist
from privinf.parties.messages import identity_message, read_id, read_identity, require_same, shape_message
from privinf.parties.methods import CREATE, FETCH
from privinf.parties.spool import Record
from privinf.parties.status import restore
from privinf.parties.store import Place, PreparationStore
from privinf.protocols.program import PartyProgram, QueryShape
from privinf.v1 import dealer_pb2


class DealerLink:
    """A party's way to the dealer, into its store."""

    def __init__(
        self, dealer: Peer, program: PartyProgram, store: PreparationStore, connect_seconds: float
    ) -> None:
        self._dealer, self._program, self._store = dealer, program, store
        self._connect_seconds = connect_seconds
        self._create, self._fetch = CREATE.on(dealer), FETCH.on(dealer)

    def create(self, shape: QueryShape, deadline: Deadline) -> bytes:
        """Have a preparation drawn; return its id."""
        request = dealer_pb2.CreateRequest(
            identity=identity_message(self._program.identity), shape=shape_message(shape)
        )
        reply = persist(lambda: self._created(request, deadline), self._connect_seconds, deadline)
        require_same(self._program.identity, read_identity(reply.identity), "dealer")
        if (reply.bytes0, reply.bytes1)[self._program.party] != self._program.prep_bytes(shape):
            raise MismatchError("dealer differs in the size of a preparation")
        return read_id(reply.preparation_id, "a preparation id")

    def _created(self, request: dealer_pb2.CreateRequest, deadline: Deadline) -> dealer_pb2.CreateReply:
        try:
            reply: dealer_pb2.CreateReply = self._create(
                request, timeout=deadline.left("offline"), metadata=self._dealer.metadata
            )
        except grpc.RpcError as error:
            raise restore(error, "dealer", phase="offline") from error
        return reply

    def room(self, shape: QueryShape) -> int:
        """Return what a preparation takes from our store."""
        return self._program.prep_bytes(shape) + self._program.aside_bytes(shape)

    def place(self, shape: QueryShape) -> AbstractContextManager[Place]:
        """Take room in our store: first of all, so that a refusal costs the dealer nothing."""
        return self._store.place(self._program.prep_bytes(shape), self._program.aside_bytes(shape))

    def fetch(
        self,
        place: Place,
        preparation_id: bytes,
        shape: QueryShape,
        epoch: bytes,
        deadline: Deadline,
        started: Callable[[grpc.Call], Any] = lambda call: None,
    ) -> Record:
        """Store our half of a preparation; `started` is given the call, to cancel it.

        The deadline and a cancellation end the stream; neither interrupts what the program prepares after it.
        """
        program = self._program
        request = dealer_pb2.FetchRequest(
            preparation_id=preparation_id, identity=identity_message(program.identity)
        )
        sizes = program.prep_bytes(shape), program.aside_bytes(shape)
        record = Record(preparation_id, shape, program.identity, *sizes, epoch=epoch)
        call = self._fetch(request, timeout=deadline.left("offline"), metadata=self._dealer.metadata)
        started(call)
        try:
            return self._store.receive(place, record, _messages(call), partial(program.prepare, shape))
        finally:
            call.cancel()


def _messages(call: Any) -> Iterator[bytes]:
    try:
        yield from call
    except grpc.RpcError as error:
        raise restore(error, "dealer", phase="offline") from error
