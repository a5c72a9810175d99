"""What a party asks of the dealer for a generation: to begin it, and its own half of each pass as it is dealt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from privinf.errors import PeerLost, ProtocolError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import Deadline, persist
from privinf.parties.rpc.life import when_over
from privinf.parties.rpc.messages import (
    identity_message,
    order_message,
    read_id,
    read_identity,
    read_order,
    require_same,
    session_shape_message,
)
from privinf.parties.rpc.methods import PASSES
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.parts import parse
from privinf.parties.rpc.status import attribute, restore
from privinf.parties.stock.digest import Tally
from privinf.parties.stock.places import Places
from privinf.protocols.contract import SEED_BYTES, Identity, Order, SessionShape
from privinf.v1 import common_pb2, dealer_pb2


class DealtStream:
    """The dealer's stream of one generation; a pass reads it as its preparation, once, for nothing is kept."""

    def __init__(
        self,
        messages: Iterator[bytes],
        orders: Outgoing[dealer_pb2.PassesRequest],
        cancel: Callable[[], Any] = lambda: None,
    ) -> None:
        self._messages, self._orders, self._cancel = messages, orders, cancel
        self._rest, self._tally = memoryview(b""), Tally(bytes(SEED_BYTES))
        self.nbytes = 0  # read in this pass
        self.preparation_id = b""
        self.places = 0  # how many generations the dealer serves at a time

    def hear(self) -> Identity:
        """Hear the generation's id, and return what the dealer deals for."""
        begun = parse(dealer_pb2.PassesBegun, self._next())
        self.preparation_id = read_id(begun.preparation_id, "a preparation id")
        self.places = begun.places
        return read_identity(begun.identity)

    def order(self, order: Order) -> None:
        """Ask for the next pass, as party 0."""
        self._orders.put(dealer_pb2.PassesRequest(order=order_message(order)))

    def begin(self) -> tuple[Order, bytes]:
        """Wait for the next pass: return its order as the dealer understood it, and our seed."""
        order, seed = read_order(parse(common_pb2.Order, self._next())), self._next()
        self.nbytes, self._tally = 0, Tally(seed)
        return order, seed

    def read(self, nbytes: int) -> memoryview:
        """Return the next bytes of the pass, in memory that nothing else looks at."""
        self.nbytes += nbytes
        if nbytes and not self._rest:
            self._receive()
            if len(self._rest) == nbytes:
                return self._cut(nbytes)
        return self._assemble(nbytes)

    def end(self) -> None:
        """See that the pass has been read to its end, and is what was dealt: not before may it be used."""
        if self._rest:
            raise ProtocolError(f"{len(self._rest)} bytes of the preparation were not used")
        if self._next():
            raise ProtocolError("the dealer sent more than the pass takes")
        self._tally.compare(self._next())

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
        piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
        return piece

    def _receive(self) -> None:
        self._rest = memoryview(self._next())
        if not self._rest:
            raise ProtocolError("the dealer sent less than the pass takes")
        self._tally.update(self._rest)

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
        self._places = Places()

    def begin(self, shape: SessionShape, deadline: Deadline, context: grpc.ServicerContext) -> DealtStream:
        """Begin a generation, as party 0, once the dealer has a place for it; it is the dealer that names it."""
        context.add_callback(self._places.wake)  # one that is over already is not active either
        give_back = self._places.take(deadline, context.is_active)
        when_over(context, give_back)
        dealt = self._open(deadline, context, begin=session_shape_message(shape))
        self._places.learn(dealt.places)
        return dealt

    def join(self, preparation_id: bytes, deadline: Deadline, context: grpc.ServicerContext) -> DealtStream:
        """Be dealt the passes of the generation that party 0 has begun, as party 1."""
        dealt = self._open(deadline, context, preparation_id=preparation_id)
        if dealt.preparation_id != preparation_id:
            dealt.cancel()
            raise ProtocolError("the dealer deals another generation")
        return dealt

    def _open(self, deadline: Deadline, context: grpc.ServicerContext, **which: Any) -> DealtStream:
        identity = identity_message(self._identity)
        opening = dealer_pb2.PassesRequest(open=dealer_pb2.PassesOpen(identity=identity, **which))
        return persist(lambda: self._opened(opening, deadline, context), self._connect_seconds, deadline)

    def _opened(
        self, opening: dealer_pb2.PassesRequest, deadline: Deadline, context: grpc.ServicerContext
    ) -> DealtStream:
        """Open a stream that ends with our client's call, and hear the dealer's first word on it."""
        orders: Outgoing[dealer_pb2.PassesRequest] = Outgoing()
        orders.put(opening)
        passes, left = PASSES.on(self._dealer), deadline.left("offline")
        call = passes(iter(orders), timeout=left, metadata=self._dealer.metadata)
        dealt = DealtStream(call, orders, call.cancel)
        when_over(context, dealt.cancel)
        try:
            require_same(self._identity, dealt.hear(), "dealer")
        except BaseException:
            dealt.cancel()
            raise
        return dealt
