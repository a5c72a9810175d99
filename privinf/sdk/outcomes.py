"""What a call to a party came to: its counts, or a typed error that names the party."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import grpc

from privinf.errors import DeadlineExceeded, PeerLost, PrivinfError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.status import attribute, restore
from privinf.protocols.contract import Buffer
from privinf.v1 import party_pb2

Reply = TypeVar("Reply", covariant=True)

ROLES = ("party0", "party1")
_PHASES = {"connect": 1, "offline": 2, "online": 3}
VERDICT_SECONDS = 2.0  # how long the other party may take to say why it left a session


@dataclass(frozen=True)
class PartyStats:
    """What one party counted for one query, or for one pass of a generation."""

    rounds: int
    online_seconds: float
    offline_seconds: float  # waited for its preparation
    prepare_seconds: float  # what fetching that preparation took, whenever that was
    online_bytes: int  # payload sent to the other party
    wire_bytes: int  # the same with control frames and headers; HTTP/2 and TLS are not counted
    preparation_bytes: int


@dataclass(frozen=True)
class Stats:
    """What one query took, or one pass from its sending; seconds are those of the client's clock."""

    session_id: str
    seconds: float
    query_bytes: int  # sent to both parties
    result_bytes: int
    parties: tuple[PartyStats, PartyStats]


Pair = Sequence[Buffer]  # a share for each party
Answer = tuple[bytes, bytes, Stats]  # both shares of an answer, and what it took
Forget = Callable[[], None]  # called where a party cannot be reached: what is known of it is old


class Replying(Protocol[Reply]):
    """A call to a party, as gRPC gives it."""

    def cancel(self) -> object: ...
    def __iter__(self) -> Iterator[Reply]: ...
    def __next__(self) -> Reply: ...


def counted(stats: party_pb2.Stats) -> PartyStats:
    """Return a party's counts."""
    return PartyStats(*(getattr(stats, item.name) for item in fields(PartyStats)))


def failure(error: BaseException, peer: Peer) -> PrivinfError:
    """Return what a call failed with; one that we dropped ourselves says so."""
    if isinstance(error, grpc.RpcError):
        return restore(error, peer.role, peer=peer)
    return attribute(PeerLost(f"{peer.role}: the query was dropped"), peer.role)


def uninformed(error: PrivinfError) -> bool:
    """Whether the other party may know better why: ours was left by it, or waited for it until time ran out."""
    return isinstance(error, PeerLost | DeadlineExceeded)


def telling(first: PrivinfError, second: PrivinfError) -> PrivinfError:
    """Return which of both parties' failures says what happened, in whatever order they came.

    Who was left by the other does not know why. If time ran out at both, the one in the earlier phase was waited for.
    """
    return min(first, second, key=_distance)


def _distance(error: PrivinfError) -> int:
    """How far a failure is from its cause."""
    if isinstance(error, PeerLost):
        return len(_PHASES) + 2
    return _PHASES.get(error.phase, len(_PHASES) + 1) if isinstance(error, DeadlineExceeded) else 0


def chunks(share: Buffer) -> Iterator[bytes]:
    """Cut a share into messages."""
    view = memoryview(share).cast("B")
    for offset in range(0, len(view), CHUNK):
        yield bytes(view[offset : offset + CHUNK])
