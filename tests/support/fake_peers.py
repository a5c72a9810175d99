"""Peers that break the rules of a session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
from harness import tls

from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import bind
from privinf.parties.rpc.frames import HEADER, MAGIC
from privinf.v1 import party_pb2


def message(
    session: bytes,
    kind: int,
    round_: int,
    payload: bytes,
    *,
    sender: int = 0,
    length: int | None = None,
    offset: int = 0,
) -> bytes:
    """Return a message, right or wrong."""
    size = len(payload) if length is None else length
    return HEADER.pack(MAGIC, kind, sender, 0, round_, 0, session, size, offset) + payload


class FakeParty1:
    """Serves sessions with a script of its own."""

    def __init__(self, keys: Path, script: Any) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler: Any = grpc.stream_stream_rpc_method_handler(script)
        reconcile = grpc.unary_unary_rpc_method_handler(
            lambda request, context: party_pb2.ReconcileReply(),
            party_pb2.ReconcileRequest.FromString,
            party_pb2.ReconcileReply.SerializeToString,
        )
        table = {"Session": handler, "Reconcile": reconcile}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(methods.PARTY, table),))
        self.port = bind(self._server, "127.0.0.1:0", tls(keys, "party1"), print, "party1")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()
