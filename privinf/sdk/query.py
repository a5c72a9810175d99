"""A query under way: each party is sent its share once it has admitted it, and shares of the answer come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import grpc

from privinf.errors import ConnectError, PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.status import attribute
from privinf.sdk.outcomes import (
    ROLES,
    VERDICT_SECONDS,
    Gate,
    PartyStats,
    Replying,
    counted,
    failure,
    telling,
    uninformed,
)
from privinf.v1 import party_pb2


@dataclass(frozen=True)
class Stats:
    """What one query took; seconds are those of the client's clock."""

    session_id: str
    seconds: float
    query_bytes: int  # sent to both parties
    result_bytes: int
    parties: tuple[PartyStats, PartyStats]


class Run:
    """A query under way on both parties, each of which is sent its share once it has admitted the query."""

    def __init__(
        self,
        calls: Sequence[Replying[party_pb2.InferReply]],
        gates: Sequence[Gate],
        session: bytes,
        nbytes: int,
        unreached: Callable[[], None],
    ) -> None:
        self._calls, self._gates, self._session, self._sent = calls, gates, session, nbytes
        self._unreached, self._began = unreached, time.monotonic()
        self._come: SimpleQueue[tuple[int, party_pb2.InferReply | PrivinfError]] = SimpleQueue()
        for party in range(len(calls)):
            threading.Thread(target=self._read, args=(party,), name="query", daemon=True).start()

    @property
    def sent(self) -> bool:
        """Whether a share may have been sent: then it must never be sent again."""
        return any(gate.opened for gate in self._gates)

    def cancel(self) -> None:
        """Drop the query at both parties; its preparation is lost."""
        for call, gate in zip(self._calls, self._gates, strict=True):
            call.cancel()
            gate.close()

    def result(self) -> tuple[bytes, bytes, Stats]:
        """Wait for both shares of the answer; raise what went wrong first, and drop the other half."""
        try:
            return self._gather()
        except PrivinfError as error:
            if isinstance(error, ConnectError):
                self._unreached()
            raise attribute(error, None, self._session) from error.__cause__
        finally:
            self.cancel()

    def _gather(self) -> tuple[bytes, bytes, Stats]:
        replies: dict[int, party_pb2.InferReply] = {}
        while len(replies) < len(self._calls):
            party, come = self._come.get()  # each call ends with its deadline at the latest
            if isinstance(come, PrivinfError):
                raise self._cause(come)
            replies[party] = come
        parties = counted(replies[0].stats), counted(replies[1].stats)
        received = sum(len(reply.result) for reply in replies.values())
        seconds = time.monotonic() - self._began
        stats = Stats(self._session.hex(), seconds, self._sent, received, parties)
        return replies[0].result, replies[1].result, stats

    def _cause(self, first: PrivinfError) -> PrivinfError:
        """A party that was merely left by the other, or waited for it, does not know why: ask the other."""
        if not uninformed(first):
            return first
        try:
            _, second = self._come.get(timeout=VERDICT_SECONDS)
        except Empty:
            return first
        return telling(first, second) if isinstance(second, PrivinfError) else first

    def _read(self, party: int) -> None:
        role, call, gate = ROLES[party], self._calls[party], self._gates[party]
        come: party_pb2.InferReply | PrivinfError
        try:
            if not _next(call, role).admitted:
                raise attribute(ProtocolError(f"{role} answered before it admitted the query"), role)
            gate.open()
            come = _next(call, role)
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            come = failure(error, role)
            come.__cause__ = error
        except PrivinfError as error:
            come = attribute(error, role)
        self._come.put((party, come))
        gate.close()


def _next(call: Replying[party_pb2.InferReply], role: str) -> party_pb2.InferReply:
    reply = next(call, None)
    if reply is None:
        raise PeerLost(f"{role} ended the query early")
    return reply
