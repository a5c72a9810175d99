"""The calls that each server offers: who may call them, and how their messages are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from privinf.errors import PrivinfError, Unauthenticated
from privinf.parties.credentials import Peer, caller
from privinf.parties.logs import Log
from privinf.parties.status import describe
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

PARTY: Final = "privinf.v1.Party"
DEALER: Final = "privinf.v1.Dealer"
RAW: Final = None  # a message that is its own bytes
_BOTH = frozenset({"party0", "party1"})
_ALL = _BOTH | {"client", "dealer"}


@dataclass(frozen=True)
class Method:
    """One call: its messages, whether they stream, and the roles that may make it."""

    service: str
    name: str
    request: type[Message] | None
    reply: type[Message] | None
    callers: frozenset[str]
    streams: tuple[bool, bool] = (False, False)  # request, reply

    @property
    def kind(self) -> str:
        """Return gRPC's word for which sides stream."""
        return "_".join("stream" if side else "unary" for side in self.streams)

    def on(self, peer: Peer) -> Any:
        """Return the callable that makes this call."""
        make = getattr(peer.channel, self.kind)
        encode = self.request.SerializeToString if self.request else None
        decode = self.reply.FromString if self.reply else None
        return make(f"/{self.service}/{self.name}", encode, decode)


CLIENT = frozenset({"client"})
PARTY0 = frozenset({"party0"})

ATTEST_PARTY = Method(PARTY, "Attest", common_pb2.AttestRequest, common_pb2.AttestReply, _ALL)
INFER = Method(PARTY, "Infer", party_pb2.InferRequest, party_pb2.InferReply, CLIENT, (True, False))
GENERATE = Method(PARTY, "Generate", party_pb2.GenerateRequest, party_pb2.GenerateReply, CLIENT, (True, True))
SESSION = Method(PARTY, "Session", RAW, RAW, PARTY0, (True, True))
PREFETCH = Method(PARTY, "Prefetch", party_pb2.PrefetchRequest, party_pb2.PrefetchReply, PARTY0)
RECONCILE = Method(PARTY, "Reconcile", party_pb2.ReconcileRequest, party_pb2.ReconcileReply, PARTY0)
STATUS = Method(PARTY, "Status", party_pb2.StatusRequest, party_pb2.StatusReply, _ALL)
ATTEST_DEALER = Method(DEALER, "Attest", common_pb2.AttestRequest, common_pb2.AttestReply, _ALL)
CREATE = Method(DEALER, "Create", dealer_pb2.CreateRequest, dealer_pb2.CreateReply, PARTY0)
DROP = Method(DEALER, "Drop", dealer_pb2.DropRequest, dealer_pb2.DropReply, _BOTH)
FETCH = Method(DEALER, "Fetch", dealer_pb2.FetchRequest, RAW, _BOTH, (False, True))
PASSES = Method(DEALER, "Passes", dealer_pb2.PassesRequest, RAW, _BOTH, (True, True))


class Guard:
    """Checks the caller's role before a call runs, and turns what it raises into a status."""

    def __init__(self, role: str, secure: bool, log: Log) -> None:
        self._role, self._secure, self._log = role, secure, log

    def handlers(self, calls: dict[Method, Callable[..., Any]]) -> grpc.GenericRpcHandler:
        """Return what a gRPC server is given, for the methods of one service."""
        (service,) = {method.service for method in calls}
        table = {method.name: self._handler(method, call) for method, call in calls.items()}
        return grpc.method_handlers_generic_handler(service, table)

    def _handler(self, method: Method, call: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
        make = getattr(grpc, f"{method.kind}_rpc_method_handler")
        decode = method.request.FromString if method.request else None
        encode = method.reply.SerializeToString if method.reply else None
        behaviour = self._streaming(method, call) if method.streams[1] else self._single(method, call)
        handler: grpc.RpcMethodHandler[Any, Any] = make(behaviour, decode, encode)
        return handler

    def _single(self, method: Method, call: Callable[..., Any]) -> Callable[..., Any]:
        def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return call(request, context, self._admit(method, context))
            except Exception as error:
                self._abort(context, method, error)

        return behaviour

    def _streaming(self, method: Method, call: Callable[..., Any]) -> Callable[..., Any]:
        def behaviour(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                yield from call(request, context, self._admit(method, context))
            except Exception as error:
                self._abort(context, method, error)

        return behaviour

    def _admit(self, method: Method, context: grpc.ServicerContext) -> str:
        role = caller(context, self._secure)
        if role not in method.callers:
            raise Unauthenticated(f"{role} may not call {method.name} on {self._role}")
        return role

    def _abort(self, context: grpc.ServicerContext, method: Method, error: Exception) -> None:
        """End the call with a status; an error that is none of ours is logged without its text."""
        if isinstance(error, grpc.RpcError):  # the caller is gone: nobody to tell
            error = PrivinfError("the caller left")
        self._log.failure(method.name, error)
        known = error if isinstance(error, PrivinfError) else PrivinfError()
        code, details, trailing = describe(known)
        context.set_trailing_metadata(trailing)
        context.abort(code, details)
