"""What a party asks of the dealer for a generation: to begin it, and its own half of each pass as it is dealt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from privinf.errors import MismatchError, PeerLost, PrivinfError, ProtocolError
from privinf.parties.credentials import Peer
from privinf.parties.deadline import Deadline, persist
from privinf.parties.messages import (
    identity_message,
    order_message,
    parse_order,
    read_id,
    read_identity,
    require_same,
    session_shape_message,
)
from privinf.parties.methods import ATTEST_DEALER, BEGIN, PASSES
from privinf.parties.sessions import Outgoing
from privinf.parties.status import attribute, restore
from privinf.protocols.program import SEED_BYTES, Identity, Order, SessionShape
from privinf.v1 import common_pb2, dealer_pb2

_ANSWER_SECONDS = 30.0  # the longest that the dealer may take to begin


class DealtStream:
    """The dealer's stream of one generation; a pass reads it as its preparation, once, for nothing is kept."""

    def __init__(
        self,
        messages: Iterator[bytes],
        orders: Outgoing[dealer_pb2.PassesRequest],
        cancel: Callable[[], Any] = lambda: None,
    ) -> None:
        self._messages, self._orders, self._cancel = messages, orders, cancel
        self._rest, self._whole = memoryview(b""), False  # whole: the rest is all of a message
        self.nbytes = 0  # read in this pass

    def order(self, order: Order) -> None:
        """Ask for the next pass, as party 0."""
        self._orders.put(dealer_pb2.PassesRequest(order=order_message(order)))

    def begin(self) -> tuple[Order, bytes]:
        """Wait for the next pass: return its order as the dealer understood it, and our seed."""
        order, seed = parse_order(self._next()), self._next()
        if len(seed) != SEED_BYTES:
            raise ProtocolError(f"the dealer's seed has {len(seed)} bytes, not {SEED_BYTES}")
        self.nbytes = 0
        return order, seed

    def read(self, nbytes: int) -> memoryview:
        """Return the next bytes of the pass, in memory that nothing else looks at."""
        self.nbytes += nbytes
        if nbytes and not self._rest:
            self._receive()
        if self._whole and len(self._rest) == nbytes:
            return self._cut(nbytes)
        return self._assemble(nbytes)

    def end(self) -> None:
        """See that the pass has been read to its end."""
        if self._rest:
            raise ProtocolError(f"{len(self._rest)} bytes of the preparation were not used")
        if self._next():
            raise ProtocolError("the dealer sent more than the pass takes")

    def cancel(self) -> None:
        """Leave the generation: the dealer frees it, and ends it for the other party too."""
        self._cancel()
        self._orders.put(None)

    def _assemble(self, nbytes: int) -> memoryview:
        """Copy what is a part of a message, or lies in several: a view would keep all of them alive."""
        copy, filled = memoryview(bytearray(nbytes)), 0
        while filled < nbytes:
            if not self._rest:
                self._receive()
            piece = self._cut(min(len(self._rest), nbytes - filled))
            copy[filled : filled + len(piece)] = piece
            filled += len(piece)
        return copy.toreadonly()

    def _cut(self, nbytes: int) -> memoryview:
        piece, self._rest, self._whole = self._rest[:nbytes], self._rest[nbytes:], False
        return piece

    def _receive(self) -> None:
        self._rest, self._whole = memoryview(self._next()), True
        if not self._rest:
            raise ProtocolError("the dealer sent less than the pass takes")

    def _next(self) -> bytes:
        try:
            message = next(self._messages, None)
        except grpc.RpcError as error:
            raise restore(error, "dealer", phase="offline") from error
        if message is None:
            raise attribute(PeerLost("dealer ended the generation early"), "dealer")
        return message


class PassLink:
    """A party's way to the dealer for generations."""

    def __init__(self, dealer: Peer, identity: Identity, connect_seconds: float) -> None:
        self._dealer, self._identity, self._connect_seconds = dealer, identity, connect_seconds
        self._begin, self._attest, self._passes = (
            BEGIN.on(dealer),
            ATTEST_DEALER.on(dealer),
            PASSES.on(dealer),
        )

    def begin(self, shape: SessionShape, deadline: Deadline) -> bytes:
        """Have a generation begun, as party 0; return its id."""
        request = dealer_pb2.BeginRequest(
            identity=identity_message(self._identity), shape=session_shape_message(shape)
        )
        reply = self._ask(self._begin, request, deadline)
        return read_id(reply.preparation_id, "a preparation id")

    def attest(self, deadline: Deadline) -> None:
        """See that the dealer can be reached, as party 1, and that it deals for our program."""
        reply = self._ask(self._attest, common_pb2.AttestRequest(), deadline)
        if reply.role != "dealer":
            raise MismatchError(f"{self._dealer.address} is {reply.role}, not dealer")

    def join(self, preparation_id: bytes, deadline: Deadline) -> DealtStream:
        """Be dealt a generation's passes."""
        orders: Outgoing[dealer_pb2.PassesRequest] = Outgoing()
        opened = dealer_pb2.PassesOpen(
            preparation_id=preparation_id, identity=identity_message(self._identity)
        )
        orders.put(dealer_pb2.PassesRequest(open=opened))
        call = self._passes(iter(orders), timeout=deadline.left("offline"), metadata=self._dealer.metadata)
        return DealtStream(call, orders, call.cancel)

    def _ask(self, method: Any, request: Any, deadline: Deadline) -> Any:
        reply = persist(lambda: self._asked(method, request, deadline), self._connect_seconds, deadline)
        require_same(self._identity, read_identity(reply.identity), "dealer")
        return reply

    def _asked(self, method: Any, request: Any, deadline: Deadline) -> Any:
        timeout = min(_ANSWER_SECONDS, deadline.left("offline"))
        try:
            return method(request, timeout=timeout, metadata=self._dealer.metadata)
        except grpc.RpcError as error:
            known: PrivinfError = restore(error, "dealer", phase="offline")
            raise known from error
