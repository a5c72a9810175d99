"""Calls as no client or peer of ours would make them, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from typing import Any

import grpc
import pytest
from dummy import Settings, says
from harness import SHAPE, Cluster, tls

from privinf.errors import (
    PrivinfError,
)
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.messages import shape_message
from privinf.parties.rpc.status import restore
from privinf.protocols.contract import Identity, QueryShape
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

IDENTITY = Settings().identity
ID = bytes(16)
CREATE = dealer_pb2.CreateRequest(identity=says("party0"), shape=shape_message(SHAPE), order=bytes(16))
FETCH = dealer_pb2.FetchRequest(preparation_id=ID, identity=says("party0"))
PREFETCH = party_pb2.PrefetchRequest(
    preparation_id=ID, identity=says("party0"), shape=shape_message(SHAPE), epoch=ID
)


def call(peer: Peer, method: methods.Method, request: Any, timeout: float | None = 60.0) -> Any:
    """Make a call; raise what it failed with as ours."""
    try:
        reply = method.on(peer)(request, timeout=timeout, metadata=peer.metadata)
        return list(reply) if method.streams[1] else reply
    except grpc.RpcError as error:
        raise restore(error, peer.role) from error


def refused(cluster: Cluster, role: str, own: str, method: methods.Method, request: Any) -> PrivinfError:
    """Return the error of a call made with the certificate of `own`."""
    peer = dial(cluster.address(role), role, tls(cluster.keys, own), own)
    try:
        with pytest.raises(PrivinfError) as failure:
            call(peer, method, request)
        return failure.value
    finally:
        peer.channel.close()


def infer(
    cluster: Cluster,
    party: int,
    identity: Identity,
    shape: QueryShape = SHAPE,
    session: bytes = ID,
    timeout: float = 60,
    chunks: Sequence[int] = (8,),
) -> Any:
    role = f"party{party}"
    peer = dial(cluster.address(role), role, tls(cluster.keys, "client"), "client")
    opened = party_pb2.InferOpen(
        session_id=session, identity=says("client", identity), shape=shape_message(shape)
    )
    parts = [party_pb2.InferRequest(open=opened), *map(chunk, chunks)]
    future = methods.INFER.on(peer).future(iter(parts), timeout=timeout)
    future.add_done_callback(lambda _: Thread(target=peer.channel.close).start())
    return future


def opening(**changes: Any) -> party_pb2.InferRequest:
    fields: dict[str, Any] = {
        "session_id": ID,
        "identity": says("client"),
        "shape": shape_message(SHAPE),
    }
    return party_pb2.InferRequest(open=party_pb2.InferOpen(**fields | changes))


def chunk(nbytes: int) -> party_pb2.InferRequest:
    return party_pb2.InferRequest(chunk=bytes(nbytes))


def shape_of(task: str, batch: int, tokens: int) -> common_pb2.QueryShape:
    return common_pb2.QueryShape(task=task, batch=batch, tokens=tokens)
