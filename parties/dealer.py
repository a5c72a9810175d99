"""The dealer's calls: it attests, creates preparations, and streams each of them once to each party."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from privinf.config import DealerConfig
from privinf.errors import PeerLost
from privinf.parties.jobs import Job, Jobs
from privinf.parties.logs import Log
from privinf.parties.messages import identity_message, read_id, read_identity, read_shape, require_same
from privinf.parties.methods import ATTEST_DEALER, CREATE, FETCH, Guard, Method
from privinf.parties.status import attribute
from privinf.protocols.program import DealerProgram
from privinf.v1 import common_pb2, dealer_pb2


class DealerCalls:
    """What a dealer answers."""

    def __init__(self, config: DealerConfig, program: DealerProgram, log: Log) -> None:
        self._program, self._log = program, log
        self._jobs = Jobs(program, config, lambda error: log.failure("deal", error))

    def handlers(self, guard: Guard) -> grpc.GenericRpcHandler:
        """Return the calls, each behind the check of its caller's role."""
        calls: dict[Method, Any] = {ATTEST_DEALER: self.attest, CREATE: self.create, FETCH: self.fetch}
        return guard.handlers(calls)

    def close(self) -> None:
        """Abort what is being delivered."""
        self._jobs.close()

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
        job = self._jobs.create(read_shape(request.shape))
        return dealer_pb2.CreateReply(
            preparation_id=job.preparation_id,
            identity=identity_message(self._program.identity),
            bytes0=job.sizes[0],
            bytes1=job.sizes[1],
        )

    def fetch(
        self, request: dealer_pb2.FetchRequest, context: grpc.ServicerContext, caller: str
    ) -> Iterator[bytes]:
        """Stream to the party that the certificate names its half of a preparation."""
        require_same(self._program.identity, read_identity(request.identity), caller)
        job = self._jobs.find(read_id(request.preparation_id, "a preparation id"))
        party = ("party0", "party1").index(caller)
        chunks = job.take(party)
        context.add_callback(lambda: self._ended(job, party))
        yield from chunks
        if job.deliver(party):
            self._jobs.forget(job)
            self._log.info("delivered", preparation=job.preparation_id.hex())

    def _ended(self, job: Job, party: int) -> None:
        if job.lost(party):
            error = attribute(PeerLost(f"party{party} stopped fetching"), f"party{party}")
            self._jobs.forget(job, error)
