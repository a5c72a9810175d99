"""What is under way at both parties: a call to each, whose replies a thread passes on until it is over."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

import grpc

from privinf.errors import ConnectError, PartyError, PrivinfError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.status import attribute
from privinf.sdk.outcomes import ROLES, Answer, Forget, Replying, Stats, counted, failure
from privinf.v1 import party_pb2

Request = TypeVar("Request", party_pb2.InferRequest, party_pb2.GenerateRequest)
Reply = TypeVar("Reply", party_pb2.InferReply, party_pb2.GenerateReply)


class Underway(ABC, Generic[Request, Reply]):
    """A query or a generation; both parties are told what opens it, and its subclass sends each what follows."""

    def __init__(
        self, method: Method, peers: Sequence[Peer], opening: Request, seconds: float, forget: Forget
    ) -> None:
        self.session_id, self._peers, self._forget = opening.open.session_id.hex(), peers, forget
        self._arrived: SimpleQueue[tuple[int, Reply | PrivinfError]] = SimpleQueue()
        self._outgoing: list[Outgoing[Request]] = [Outgoing() for _ in peers]
        self._calls: list[Replying[Reply]] = []
        for peer, outgoing in zip(peers, self._outgoing, strict=True):
            outgoing.put(opening)
            self._calls.append(method.on(peer)(iter(outgoing), timeout=seconds, metadata=peer.metadata))
        self._readers = [
            threading.Thread(target=self._read, args=(party,), name=method.name, daemon=True)
            for party in range(len(peers))
        ]
        for reader in self._readers:
            reader.start()

    def cancel(self) -> None:
        """Drop it at both parties, at once; what was not sent yet never is."""
        for call, outgoing in zip(self._calls, self._outgoing, strict=True):
            call.cancel()
            outgoing.put(None)  # gRPC's thread waits there

    @abstractmethod
    def _follow(self, party: int) -> Reply:
        """Pass on a party's replies but the last one, which is returned; raise what went wrong instead."""

    def _read(self, party: int) -> Reply | PrivinfError:
        """Pass on what comes from a party, at last a reply or an error."""
        last: Reply | PrivinfError
        try:
            last = self._follow(party)
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            last = failure(error, self._peers[party])
            last.__cause__ = error
        except PrivinfError as error:
            last = attribute(error, ROLES[party])
            self._calls[party].cancel()
        except Exception as error:  # whoever waits must hear of it; what it says may hold a share
            last = PartyError(f"the reply of {ROLES[party]} was not read: {type(error).__name__}")
            self._calls[party].cancel()
        self._arrived.put((party, last))
        self._outgoing[party].put(None)
        return last

    def _answer(self, began: float, sent: int, first: Reply, second: Reply) -> Answer:
        """What two replies come to."""
        received = len(first.result) + len(second.result)
        parties = counted(first.stats), counted(second.stats)
        stats = Stats(self.session_id, time.monotonic() - began, sent, received, parties)
        return first.result, second.result, stats

    def _failed(self, error: PrivinfError) -> PrivinfError:
        """Drop it for an error, and say of which session that is."""
        self.cancel()
        if isinstance(error, ConnectError):
            self._forget()
        return attribute(error, None, bytes.fromhex(self.session_id))
