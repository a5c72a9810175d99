"""The dealer's calls: it attests, creates preparations, and streams each of them once to each party."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc

from privinf.config import DealerConfig
from privinf.errors import PeerLost, ProtocolError
from privinf.parties.dealing.jobs import Job, Jobs
from privinf.parties.dealing.passes import Dealing, Dealings
from privinf.parties.logs import Log
from privinf.parties.rpc.guard import Guard
from privinf.parties.rpc.incoming import Requests
from privinf.parties.rpc.life import when_over
from privinf.parties.rpc.messages import (
    identity_message,
    read_id,
    read_identity,
    read_order,
    read_session_shape,
    read_shape,
    require_same,
)
from privinf.parties.rpc.methods import ATTEST_DEALER, CREATE, DROP, FETCH, PASSES, Method
from privinf.parties.rpc.roles import PARTIES
from privinf.parties.rpc.status import attribute, tell
from privinf.protocols.contract import DealerProgram, Order
from privinf.v1 import common_pb2, dealer_pb2


class DealerCalls:
    """What a dealer answers."""

    def __init__(self, config: DealerConfig, program: DealerProgram, log: Log) -> None:
        self._program, self._log = program, log
        report = partial(log.failure, "deal")
        self.jobs = Jobs(program.queries, config, report)
        self.dealings = Dealings(program.sessions, config, report)

    def handlers(self, guard: Guard) -> grpc.GenericRpcHandler:
        """Return the calls, each behind the check of its caller's role."""
        calls: dict[Method, Any] = {ATTEST_DEALER: self.attest, CREATE: self.create, FETCH: self.fetch}
        return guard.handlers(calls | {DROP: self.drop, PASSES: self.passes})

    def drain(self) -> None:
        """End generations: they would outlast any time that is given to preparations."""
        self.dealings.close()

    def close(self) -> None:
        """Abort what is being delivered."""
        self.jobs.close()
        self.dealings.close()

    def attest(
        self, request: common_pb2.AttestRequest, context: grpc.ServicerContext, caller: str
    ) -> common_pb2.AttestReply:
        """Say what this dealer prepares for."""
        return common_pb2.AttestReply(identity=identity_message(self._program.identity), role="dealer")

    def create(
        self, request: dealer_pb2.CreateRequest, context: grpc.ServicerContext, caller: str
    ) -> dealer_pb2.CreateReply:
        """Draw the id of a preparation."""
        require_same(self._program.identity, read_identity(request.identity), caller)
        order = read_id(request.order, "an order")
        job = self.jobs.create(read_shape(request.shape), order)
        return dealer_pb2.CreateReply(
            preparation_id=job.preparation_id,
            identity=identity_message(self._program.identity),
            bytes0=job.sizes[0],
            bytes1=job.sizes[1],
            places=self.jobs.limit,
        )

    def drop(
        self, request: dealer_pb2.DropRequest, context: grpc.ServicerContext, caller: str
    ) -> dealer_pb2.DropReply:
        """End what a party has given up: nobody is to wait for it, and its place is free."""
        which = request.preparation_id or request.order
        error = attribute(PeerLost(f"{caller} gave this preparation up"), caller)
        self.jobs.drop(read_id(which, "what is dropped"), error)
        return dealer_pb2.DropReply()

    def fetch(
        self, request: dealer_pb2.FetchRequest, context: grpc.ServicerContext, caller: str
    ) -> Iterator[bytes]:
        """Stream to the party that the certificate names its half of a preparation."""
        require_same(self._program.identity, read_identity(request.identity), caller)
        job = self.jobs.find(read_id(request.preparation_id, "a preparation id"))
        party = PARTIES.index(caller)
        chunks = job.take(party)
        when_over(context, lambda: self._ended(job, party))
        yield from chunks
        if job.deliver(party):
            self.jobs.forget(job)
            self._log.info("delivered", preparation=job.preparation_id.hex())

    def passes(
        self, requests: Requests[dealer_pb2.PassesRequest], context: grpc.ServicerContext, caller: str
    ) -> Iterator[bytes]:
        """Stream to the party that the certificate names its halves of a generation's passes."""
        opened: dealer_pb2.PassesOpen = requests.opening("passes begin with their opening")
        require_same(self._program.identity, read_identity(opened.identity), caller)
        dealing = self._begin(opened) if caller == "party0" else self._joined(opened)
        messages = dealing.take(PARTIES.index(caller))
        when_over(context, lambda: self._left(dealing, caller))
        if caller == "party0":
            dealing.start(_orders(requests))
        yield dealer_pb2.PassesBegun(
            preparation_id=dealing.preparation_id,
            identity=identity_message(self._program.identity),
            places=self.dealings.limit,
        ).SerializeToString()
        try:
            yield from messages
        except PeerLost as error:  # a generation ends when a party leaves it: nothing went wrong here
            tell(context, error)

    def _begin(self, opened: dealer_pb2.PassesOpen) -> Dealing:
        if opened.WhichOneof("which") != "begin":
            raise ProtocolError("party 0 begins a generation")
        return self.dealings.begin(read_session_shape(opened.begin))

    def _joined(self, opened: dealer_pb2.PassesOpen) -> Dealing:
        if opened.WhichOneof("which") != "preparation_id":
            raise ProtocolError("party 1 joins a generation")
        preparation_id = read_id(opened.preparation_id, "a preparation id")
        try:
            return self.dealings.find(preparation_id)
        except ProtocolError as error:  # party 0 named it: it has left, and will say why
            raise attribute(PeerLost("this generation is over, or never was"), "party0") from error

    def _ended(self, job: Job, party: int) -> None:
        if job.lost(party):
            self.jobs.forget(job, attribute(PeerLost(f"party{party} stopped fetching"), f"party{party}"))

    def _left(self, dealing: Dealing, caller: str) -> None:
        """A generation is over for both with the first call that ends, however it does."""
        if self.dealings.forget(dealing, attribute(PeerLost(f"{caller} left the generation"), caller)):
            self._log.info("dealt", preparation=dealing.preparation_id.hex(), passes=dealing.passes)


def _orders(requests: Requests[dealer_pb2.PassesRequest]) -> Iterator[Order]:
    seconds = requests.bounds.idle
    while (request := requests.within(seconds, f"party0 ordered nothing for {seconds:g} s")) is not None:
        if request.WhichOneof("part") != "order":
            raise ProtocolError("an order was due")
        yield read_order(request.order)
