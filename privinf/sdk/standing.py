"""What servers say of themselves to a client: who they are, what they serve, and what they have ready; no secret."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any

import grpc
from google.protobuf.message import Message

from privinf.config import ClientConfig
from privinf.errors import InputError, MismatchError, PrivinfError, ProtocolError
from privinf.parties.rpc.credentials import Peer, dial, warn_insecure
from privinf.parties.rpc.messages import read_identity, read_shape, require_same
from privinf.parties.rpc.methods import ATTEST_DEALER, ATTEST_PARTY, STATUS, Method
from privinf.parties.rpc.status import attribute, restore
from privinf.protocols.contract import Identity, QueryShape
from privinf.sdk.outcomes import ROLES
from privinf.v1 import common_pb2, party_pb2

LONGEST = 40  # characters of a role that a server calls itself


@dataclass(frozen=True)
class PartyStatus:
    """What a party says of itself: preparations ready by shape, and how much room is taken."""

    role: str
    ready: dict[QueryShape, int]
    sessions: int
    max_sessions: int
    store_bytes: int
    max_store_bytes: int
    waiting: int = 0  # for a place among the sessions
    max_waiting: int = 0
    max_batch: int = 1  # prompts of one generation that advance together


@dataclass(frozen=True)
class Standing:
    """One server: what it serves, and at a party what it has ready; or why it does not serve us."""

    role: str
    address: str
    identity: Identity | None = None
    status: PartyStatus | None = None  # of a party
    error: PrivinfError | None = None


def attest(peer: Peer, seconds: float) -> Identity:
    """Who a server says it is; MismatchError where that is another role than was dialled."""
    method = ATTEST_DEALER if peer.role == "dealer" else ATTEST_PARTY
    reply: common_pb2.AttestReply = ask(peer, method, common_pb2.AttestRequest(), seconds)
    if reply.role != peer.role:
        raise attribute(
            MismatchError(f"{peer.address} is {reply.role[:LONGEST]!r}, not {peer.role}"), peer.role
        )
    return read_identity(reply.identity)


def status_of(peer: Peer, seconds: float) -> PartyStatus:
    """What a party has ready."""
    reply: party_pb2.StatusReply = ask(peer, STATUS, party_pb2.StatusRequest(), seconds)
    try:
        ready = {read_shape(item.shape): item.count for item in reply.ready}
    except InputError as error:  # the caller has given none
        raise attribute(ProtocolError(f"{peer.role} names a shape that cannot be"), peer.role) from error
    counts = (getattr(reply, item.name) for item in fields(PartyStatus)[2:])
    return PartyStatus(peer.role, ready, *counts)


def ask(peer: Peer, method: Method, request: Message, seconds: float) -> Any:
    """The one reply of a server to what needs no session."""
    try:
        return method.on(peer)(request, timeout=seconds, metadata=peer.metadata)
    except grpc.RpcError as error:
        raise restore(error, peer.role, phase="connect", peer=peer) from error


def standings(config: ClientConfig, own: Identity | None = None) -> list[Standing]:
    """What each server says, all asked at once: the parties, and the dealer where its address is told.

    Those that differ from `own`, or else from the first that answers, say so in `error`.
    """
    if config.tls is None:
        warn_insecure()
    addresses = dict(zip(ROLES, config.parties, strict=True))
    if config.dealer is not None:
        addresses["dealer"] = config.dealer
    peers = [dial(address, role, config.tls, "client") for role, address in addresses.items()]
    with ThreadPoolExecutor(len(peers)) as pool:
        found = list(pool.map(lambda peer: _standing(peer, config.connect_seconds), peers))
    return _compared(found, own)


def _standing(peer: Peer, seconds: float) -> Standing:
    identity = None
    with closing(peer):
        try:
            identity = attest(peer, seconds)
            status = None if peer.role == "dealer" else status_of(peer, seconds)
        except PrivinfError as error:
            return Standing(peer.role, str(peer.address), identity, error=error)
    return Standing(peer.role, str(peer.address), identity, status)


def _compared(found: Sequence[Standing], own: Identity | None) -> list[Standing]:
    first = own or next((one.identity for one in found if one.identity is not None), None)
    return [one if first is None or one.identity is None else _checked(one, first) for one in found]


def _checked(one: Standing, first: Identity) -> Standing:
    """The same, with what makes it useless beside the others."""
    assert one.identity is not None
    try:
        require_same(first, one.identity, one.role)
    except MismatchError as error:
        return Standing(one.role, one.address, one.identity, one.status, error)
    return one
