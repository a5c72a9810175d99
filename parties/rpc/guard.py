"""What every call of every server passes through: its caller's role, its place, its life, its messages, its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from privinf.errors import PrivinfError, Unauthenticated
from privinf.parties.logs import Log
from privinf.parties.rpc.credentials import caller, client_of
from privinf.parties.rpc.entrance import OPEN, Entrance
from privinf.parties.rpc.incoming import AnyRequests, Direct, Read, Requests, Source
from privinf.parties.rpc.life import BOUNDS, Bounds, Life
from privinf.parties.rpc.lives import Keeping
from privinf.parties.rpc.methods import ANYBODY, CLIENT, Method
from privinf.parties.rpc.parts import cut
from privinf.parties.rpc.roles import PEERS
from privinf.parties.rpc.seats import Seats
from privinf.parties.rpc.status import describe


class Guard:
    """Checks a call before it runs, bounds it while it does, and turns what it raises into a status.

    gRPC is given bytes alone, and told that both sides stream: it waits for no message and parses none.
    """

    def __init__(self, role: str, secure: bool, log: Log, calls: int = 64, bounds: Bounds = BOUNDS) -> None:
        self._role, self._secure, self.log, self._bounds = role, secure, log, bounds
        self._calls = Seats(calls, calls // 2, "calls")
        # Servers have seats of their own: no number of clients keeps them apart.
        self._peers = Seats(calls, calls // 2, "calls")
        self._keeping = Keeping(failed=lambda error: log.failure("lives", error))

    def handlers(
        self, calls: dict[Method, Callable[..., Any]], entrances: Mapping[Method, Entrance] | None = None
    ) -> grpc.GenericRpcHandler:
        """Return what a gRPC server is given, for the methods of one service."""
        (service,) = {method.service for method in calls}
        ways = {method: (entrances or {}).get(method, OPEN) for method in calls}
        table = {method.name: self._handler(method, call, ways[method]) for method, call in calls.items()}
        return grpc.method_handlers_generic_handler(service, table)

    def close(self) -> None:
        """Watch over no calls any more."""
        self._keeping.close()

    def _handler(
        self, method: Method, call: Callable[..., Any], entrance: Entrance
    ) -> grpc.RpcMethodHandler[Any, Any]:
        def behaviour(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            try:
                yield from self._answered(method, call, entrance, messages, context)
            except Exception as error:
                self._abort(context, method, error)

        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(behaviour)
        return handler

    def _answered(
        self,
        method: Method,
        call: Callable[..., Any],
        entrance: Entrance,
        messages: Iterator[bytes],
        context: grpc.ServicerContext,
    ) -> Iterator[bytes]:
        role, client = self._admit(method, context), client_of(context, self._secure)
        seats = self._peers if role in PEERS else self._calls
        with self._keeping.of(context, self._total(method)) as life:
            if role not in PEERS:
                life.spare()  # until it says what it is
            source = _source(method, entrance, messages, life, role)
            requests: AnyRequests = Requests(
                source, method, life, self._bounds, client, messages, entrance.limit
            )
            with seats.place(client, life), entrance.place(requests):
                for reply in _replies(method, call, requests, context, role):
                    for message in _wire(method, reply):
                        with life.watched(self._bounds.taken, f"{method.name}: a reply was not taken"):
                            yield message

    def _total(self, method: Method) -> float:
        bounds = self._bounds
        return bounds.total if "client" in method.callers else max(bounds.total, bounds.background)

    def _admit(self, method: Method, context: grpc.ServicerContext) -> str:
        if method.callers == ANYBODY:
            return "anybody"
        role = caller(context, self._secure)
        if role not in method.callers:
            raise Unauthenticated(f"{role} may not call {method.name} on {self._role}")
        return role

    def _abort(self, context: grpc.ServicerContext, method: Method, error: Exception) -> None:
        """End the call with a status; an error that is none of ours is logged without its text."""
        if isinstance(error, grpc.RpcError):  # the caller is gone: nobody to tell
            error = PrivinfError("the caller left")
        self.log.failure(method.name, error)
        known = error if isinstance(error, PrivinfError) else PrivinfError()
        code, details, trailing = describe(known)
        context.set_trailing_metadata(trailing)
        context.abort(code, details)


def _source(method: Method, entrance: Entrance, messages: Iterator[bytes], life: Life, role: str) -> Source:
    if entrance.waits:
        return Read(messages, life, ahead=0)
    told = method.callers == CLIENT and (method.streams[0] or method.parts[0])
    return Read(messages, life) if told else Direct(messages, life, role)


def _replies(
    method: Method,
    call: Callable[..., Any],
    requests: AnyRequests,
    context: grpc.ServicerContext,
    role: str,
) -> Iterator[Any]:
    given = requests if method.streams[0] else requests.only()
    if method.streams[1]:
        yield from call(given, context, role)
    else:
        yield call(given, context, role)


def _wire(method: Method, reply: Message | bytes) -> Iterator[bytes]:
    whole = reply if isinstance(reply, bytes) else reply.SerializeToString()
    return cut(whole) if method.parts[1] else iter([whole])
