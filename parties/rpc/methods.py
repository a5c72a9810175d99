"""The calls that each server offers: who may make them, and how their messages go over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.parts import PartsCall, wire
from privinf.parties.rpc.roles import PARTIES, ROLES
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

PARTY: Final = "privinf.v1.Party"
DEALER: Final = "privinf.v1.Dealer"
RAW: Final = None  # a message that is its own bytes
ANYBODY: Final = frozenset[str]()  # whoever connects: for probes, which have no role
_BOTH = frozenset({"party0", "party1"})


@dataclass(frozen=True)
class Method:
    """One call: its messages, whether they stream, and the roles that may make it."""

    service: str
    name: str
    request: type[Message] | None
    reply: type[Message] | None
    callers: frozenset[str]
    streams: tuple[bool, bool] = (False, False)  # request, reply
    parts: tuple[bool, bool] = (False, False)  # whether a message may be larger than one of gRPC's

    @property
    def path(self) -> str:
        """Return gRPC's name of it."""
        return f"/{self.service}/{self.name}"

    @property
    def kind(self) -> str:
        """Return gRPC's word for which sides stream."""
        return "_".join("stream" if side else "unary" for side in self.streams)

    def on(self, peer: Peer) -> Any:
        """Return the callable that makes this call."""
        if self.reply is not None and self.parts[1]:
            streams: Any = peer.channel.stream_stream(self.path)
            return PartsCall(streams, self.reply, self._encoded, one=not self.streams[1])
        make = getattr(peer.channel, self.kind)
        encode = self.request.SerializeToString if self.request else None
        decode = self.reply.FromString if self.reply else None
        return make(self.path, encode, decode)

    def _encoded(self, requests: Any) -> Iterator[bytes]:
        for request in requests if self.streams[0] else [requests]:
            yield from wire(request, self.parts[0])


CLIENT = frozenset({"client"})
PARTY0 = frozenset({"party0"})

ATTEST_PARTY = Method(PARTY, "Attest", common_pb2.AttestRequest, common_pb2.AttestReply, ROLES)
INFER = Method(
    PARTY, "Infer", party_pb2.InferRequest, party_pb2.InferReply, CLIENT, (True, True), (False, True)
)
GENERATE = Method(
    PARTY, "Generate", party_pb2.GenerateRequest, party_pb2.GenerateReply, CLIENT, (True, True), (False, True)
)
SESSION = Method(PARTY, "Session", RAW, RAW, frozenset(PARTIES), (True, True))
PREFETCH = Method(PARTY, "Prefetch", party_pb2.PrefetchRequest, party_pb2.PrefetchReply, PARTY0)
RECONCILE = Method(PARTY, "Reconcile", party_pb2.ReconcileRequest, party_pb2.ReconcileReply, PARTY0)
STATUS = Method(PARTY, "Status", party_pb2.StatusRequest, party_pb2.StatusReply, ROLES)
ATTEST_DEALER = Method(DEALER, "Attest", common_pb2.AttestRequest, common_pb2.AttestReply, ROLES)
CREATE = Method(DEALER, "Create", dealer_pb2.CreateRequest, dealer_pb2.CreateReply, PARTY0)
DROP = Method(DEALER, "Drop", dealer_pb2.DropRequest, dealer_pb2.DropReply, _BOTH)
FETCH = Method(DEALER, "Fetch", dealer_pb2.FetchRequest, RAW, _BOTH, (False, True))
PASSES = Method(DEALER, "Passes", dealer_pb2.PassesRequest, RAW, _BOTH, (True, True))
