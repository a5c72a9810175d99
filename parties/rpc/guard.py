"""What every call of every server passes through: its caller's role, its place, its life, its messages, its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from privinf.errors import PrivinfError, Unauthenticated
from privinf.parties.logs import Log
from privinf.parties.rpc.admission import Admission
from privinf.parties.rpc.credentials import caller, client_of
from privinf.parties.rpc.incoming import AnyRequests, Direct, Read, Requests, Source
from privinf.parties.rpc.life import Bounds, Life
from privinf.parties.rpc.lives import Keeping
from privinf.parties.rpc.methods import ANYBODY, CLIENT, Method
from privinf.parties.rpc.parts import WHOLE_LIMIT, wire
from privinf.parties.rpc.roles import PEERS
from privinf.parties.rpc.seats import Seats
from privinf.parties.rpc.status import tell


@dataclass(frozen=True)
class Entrance:
    """What a call passes before more than the first piece of its message is taken: a limit of bytes, and a place.

    Of one method: how large a message may be, and who decides on places, if they are bounded.
    """

    limit: int = WHOLE_LIMIT
    admission: Admission | None = None

    @contextmanager
    def place(self, requests: AnyRequests) -> Iterator[None]:
        """Hold a place from the first piece on: a caller that says nothing takes none."""
        if self.admission is None:
            yield
            return
        requests.begin()
        with self.admission.place(requests.client, requests.life):
            yield


class Guard:
    """Checks a call before it runs, bounds it while it does, and turns what it raises into a status.

    gRPC is given bytes alone, and told that both sides stream: it waits for no message and parses none.
    """

    def __init__(self, role: str, secure: bool, log: Log, calls: int, bounds: Bounds) -> None:
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
        ways = {method: (entrances or {}).get(method, Entrance()) for method in calls}
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
                self._end(context, method, error)

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
                    for message in wire(reply, method.parts[1]):
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

    def _end(self, context: grpc.ServicerContext, method: Method, error: Exception) -> None:
        """Have the call end with a status; an error that is none of ours is logged without its text."""
        if isinstance(error, grpc.RpcError):  # the caller is gone: nobody to tell
            error = PrivinfError("the caller left")
        self.log.failure(method.name, error)
        tell(context, error if isinstance(error, PrivinfError) else PrivinfError())


def _source(method: Method, entrance: Entrance, messages: Iterator[bytes], life: Life, role: str) -> Source:
    if entrance.admission is not None:  # the rest of the message is left where it is
        return Read(messages, life, ahead=0)
    told = method.callers == CLIENT and (method.streams[0] or method.parts[0])
    return Read(messages, life) if told else Direct(messages, life, role)


def _replies(
    method: Method, call: Callable[..., Any], requests: AnyRequests, context: grpc.ServicerContext, role: str
) -> Iterable[Any]:
    answer = call(requests if method.streams[0] else requests.only(), context, role)
    return answer if method.streams[1] else [answer]
