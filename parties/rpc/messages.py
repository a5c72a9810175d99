"""Between the messages of the wire and the dataclasses of the programs, with every field checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from privinf.errors import InputError, MismatchError, ProtocolError
from privinf.parties.rpc.roles import ROLES
from privinf.protocols.contract import ID_BYTES, Identity, Order, QueryShape, SessionShape
from privinf.v1 import common_pb2

MAX_TASK = 64


def identity_message(identity: Identity) -> common_pb2.Identity:
    """Return `identity` for the wire."""
    return common_pb2.Identity(**vars(identity))


def read_identity(message: common_pb2.Identity) -> Identity:
    """Return an identity from the wire."""
    return Identity(message.version, message.protocol, message.model_id, message.plan_hash, message.role)


def shape_message(shape: QueryShape) -> common_pb2.QueryShape:
    """Return `shape` for the wire."""
    return common_pb2.QueryShape(**vars(shape))


def read_shape(message: common_pb2.QueryShape) -> QueryShape:
    """Return a shape from the wire; whether it can be served is for the program to say."""
    if not 0 < len(message.task) <= MAX_TASK or not message.batch or not message.tokens:
        raise InputError("a shape needs a task, a batch and tokens")
    return QueryShape(message.task, message.batch, message.tokens)


def session_shape_message(shape: SessionShape) -> common_pb2.SessionShape:
    """Return the shape of a generation for the wire."""
    return common_pb2.SessionShape(**vars(shape))


def read_session_shape(message: common_pb2.SessionShape) -> SessionShape:
    """Return the shape of a generation from the wire; whether it can be served is for the program to say."""
    sizes = message.prompt, message.rows, message.batch
    if not 0 < len(message.task) <= MAX_TASK or not all(sizes):
        raise InputError("a generation needs a task, a prompt, rows and a batch")
    return SessionShape(message.task, *sizes)


def order_message(order: Order) -> common_pb2.Order:
    """Return `order` for the wire."""
    return common_pb2.Order(**vars(order))


def read_order(message: common_pb2.Order) -> Order:
    """Return an order from the wire; whether it is in place is for the program to say."""
    retired = tuple(message.retired)
    if list(retired) != sorted(set(retired)):
        raise ProtocolError("slots are retired once each, in ascending order")
    return Order(message.index, retired)


def read_id(value: bytes, what: str) -> bytes:
    """Return an id from the wire if its length is right."""
    if len(value) != ID_BYTES:
        raise ProtocolError(f"{what} has {len(value)} bytes, not {ID_BYTES}")
    return value


def read_ids(values: Iterable[bytes], what: str) -> set[bytes]:
    """Return ids from the wire, each of which may be said once."""
    listed = [read_id(value, what) for value in values]
    if len(set(listed)) != len(listed):
        raise ProtocolError(f"{what} names one id twice")
    return set(listed)


_DIFFERS: Final = {
    "version": "it runs another release: install the same one everywhere",
    "model_id": "it has another shared model: take folders that one `privinf share` wrote, or other addresses",
    "plan_hash": "it has another plan of the model: take folders that one `privinf share` wrote",
}


def require_same(own: Identity, other: Identity, role: str) -> None:
    """Raise MismatchError naming the first field in which `role` differs from us, or whose folder it has instead."""
    for item in ("version", "protocol", "model_id", "plan_hash"):
        ours, theirs = getattr(own, item), getattr(other, item)
        if ours != theirs and item == "protocol":
            raise MismatchError(f"{role} runs the protocol {theirs[:MAX_TASK]!r}, not {ours!r}")
        if ours != theirs:
            raise MismatchError(f"{role} differs in {item}: {_DIFFERS[item]}")
    if other.role != role:
        whose = f"{other.role}'s" if other.role in ROLES else "an unknown"
        raise MismatchError(f"{role} was started with {whose} folder of the shared model")
