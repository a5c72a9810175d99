"""What a call to a party came to: its counts, or a typed error that names the party."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from privinf.errors import PeerLost, PrivinfError
from privinf.parties.frames import CHUNK
from privinf.parties.status import attribute, restore
from privinf.protocols.program import Buffer
from privinf.v1 import party_pb2

ROLES = ("party0", "party1")
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


def counted(stats: party_pb2.Stats) -> PartyStats:
    """Return a party's counts."""
    return PartyStats(
        rounds=stats.rounds,
        online_seconds=stats.online_seconds,
        offline_seconds=stats.offline_seconds,
        prepare_seconds=stats.prepare_seconds,
        online_bytes=stats.online_bytes,
        wire_bytes=stats.wire_bytes,
        preparation_bytes=stats.preparation_bytes,
    )


def failure(error: BaseException, role: str) -> PrivinfError:
    """Return what a call failed with; one that we dropped ourselves says so."""
    if isinstance(error, grpc.RpcError):
        return restore(error, role)
    return attribute(PeerLost(f"{role}: the query was dropped"), role)


def chunks(share: Buffer) -> Iterator[bytes]:
    """Cut a share into messages."""
    view = memoryview(share).cast("B")
    for offset in range(0, len(view), CHUNK):
        yield bytes(view[offset : offset + CHUNK])
