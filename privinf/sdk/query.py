"""A query under way: each party is sent its share once it has admitted it, and shares of the answer come back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from queue import Empty

from privinf.errors import PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.methods import INFER
from privinf.sdk.outcomes import ROLES, VERDICT_SECONDS, Answer, Forget, Pair, chunks, telling, uninformed
from privinf.sdk.underway import Underway
from privinf.v1 import party_pb2


class Run(Underway[party_pb2.InferRequest, party_pb2.InferReply]):
    """A query under way on both parties, each of which is sent its share once it has admitted the query."""

    def __init__(
        self, peers: Sequence[Peer], opened: party_pb2.InferOpen, shares: Pair, seconds: float, forget: Forget
    ) -> None:
        self.sent = False  # whether a share may have been: then it must never be sent again
        self._shares = [memoryview(share) for _, share in zip(peers, shares, strict=True)]
        self._began = time.monotonic()
        super().__init__(INFER, peers, party_pb2.InferRequest(open=opened), seconds, forget)

    def result(self) -> Answer:
        """Wait for both shares of the answer; raise what went wrong first, and drop the other half."""
        try:
            return self._gather()
        except PrivinfError as error:
            raise self._failed(error) from error.__cause__
        finally:
            self.cancel()

    def _gather(self) -> Answer:
        replies: dict[int, party_pb2.InferReply] = {}
        while len(replies) < len(self._calls):
            party, come = self._arrived.get()  # each call ends with its deadline at the latest
            if isinstance(come, PrivinfError):
                raise self._cause(come)
            replies[party] = come
        sent = sum(share.nbytes for share in self._shares)
        return self._answer(self._began, sent, replies[0], replies[1])

    def _cause(self, first: PrivinfError) -> PrivinfError:
        """A party that was merely left by the other, or waited for it, does not know why: ask the other."""
        if not uninformed(first):
            return first
        try:
            _, second = self._arrived.get(timeout=VERDICT_SECONDS)
        except Empty:
            return first
        return telling(first, second) if isinstance(second, PrivinfError) else first

    def _follow(self, party: int) -> party_pb2.InferReply:
        if not self._next(party).admitted:
            raise ProtocolError(f"{ROLES[party]} answered before it admitted the query")
        self.sent = True
        for chunk in chunks(self._shares[party]):
            self._outgoing[party].put(party_pb2.InferRequest(chunk=chunk))
        self._outgoing[party].put(None)
        return self._next(party)

    def _next(self, party: int) -> party_pb2.InferReply:
        reply = next(self._calls[party], None)
        if reply is None:
            raise PeerLost(f"{ROLES[party]} ended the query early")
        return reply
