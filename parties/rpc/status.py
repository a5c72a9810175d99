"""Errors as they cross gRPC: a status code, the class's name in trailing metadata, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import grpc
from grpc import StatusCode

from privinf.errors import (
    ConnectError,
    DamagedPreparation,
    DeadlineExceeded,
    InputError,
    IntegrityError,
    MismatchError,
    OptionError,
    Overloaded,
    PartyError,
    PeerLost,
    PrivinfError,
    ProtocolError,
    Unauthenticated,
)
from privinf.parties.rpc.handshake import reason

if TYPE_CHECKING:
    from privinf.parties.rpc.credentials import Peer

KIND: Final = "privinf-error"
PARTY: Final = "privinf-party"
PHASE: Final = "privinf-phase"
RETRY: Final = "privinf-retry-ms"  # of an Overloaded after which nothing was started
_LONGEST_RETRY = 600_000
_LONGEST = 300  # characters of a message that a peer wrote

CODES: Final[dict[type[PrivinfError], StatusCode]] = {
    InputError: StatusCode.INVALID_ARGUMENT,
    OptionError: StatusCode.INVALID_ARGUMENT,
    ConnectError: StatusCode.UNAVAILABLE,
    PeerLost: StatusCode.UNAVAILABLE,
    DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    PartyError: StatusCode.INTERNAL,
    Unauthenticated: StatusCode.PERMISSION_DENIED,
    Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    MismatchError: StatusCode.FAILED_PRECONDITION,
    ProtocolError: StatusCode.ABORTED,
    IntegrityError: StatusCode.DATA_LOSS,
    DamagedPreparation: StatusCode.DATA_LOSS,
}
_KINDS: Final = {cls.__name__: cls for cls in CODES}
_REFUSED = "it closed the connection, and may refuse our certificate: its log then says why"
_UNENCRYPTED = "it closed the connection, as servers with TLS do: give certificates (--ca, --cert, --key)"
_CLOSED = "Handshake read failed (Endpoint closing)"
_UNRESOLVED = ("DNS resolution", "errors resolving")
_OBSTACLES = (  # TLS 1.3 tells the reason of a refused certificate to the log of who refuses it alone
    ("Connection refused", "nobody listens there"),
    ("Domain name not found", "no such host"),
    *((words, "its name could not be looked up") for words in _UNRESOLVED),
    ("http1.x server", "who answers there is no server of privinf"),
    ("Socket closed", _REFUSED),
    (_CLOSED, f"{_REFUSED}; or it has too much to do for a handshake in time"),
    ("onnection reset", _REFUSED),
    ("roken pipe", _REFUSED),
)
# What gRPC itself answers, with no word of ours in the trailing metadata.
_BARE: Final[dict[StatusCode, tuple[type[PrivinfError], str]]] = {
    StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "did not answer in time"),
    StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "has no room for another call"),
    StatusCode.UNIMPLEMENTED: (MismatchError, "does not offer this call: another version or another role"),
    StatusCode.CANCELLED: (PeerLost, "dropped the call"),
    StatusCode.UNAUTHENTICATED: (Unauthenticated, "refused our certificate"),
    StatusCode.PERMISSION_DENIED: (Unauthenticated, "refused our certificate"),
}


def describe(error: PrivinfError) -> tuple[StatusCode, str, tuple[tuple[str, str], ...]]:
    """Return the code, the message and the trailing metadata that tell `error` to a peer."""
    kind = next(cls for cls in type(error).__mro__ if cls in CODES or cls is PrivinfError)
    if kind is PrivinfError:  # our own configuration is no business of a caller
        kind, error = PartyError, PartyError("cannot serve: see its log")
    trailing = [(KIND, kind.__name__)]
    if error.party:
        trailing.append((PARTY, error.party))
    if isinstance(error, DeadlineExceeded):
        trailing.append((PHASE, error.phase))
    if isinstance(error, Overloaded) and error.retry_after is not None:
        trailing.append((RETRY, str(round(1000 * error.retry_after))))
    return CODES[kind], str(error)[:_LONGEST], tuple(trailing)


def tell(context: grpc.ServicerContext, error: PrivinfError) -> None:
    """Have a streaming call that returns after this end with an error."""
    code, details, trailing = describe(error)
    context.set_trailing_metadata(trailing)
    context.set_code(code)
    context.set_details(details)


def restore(
    error: grpc.RpcError, role: str, *, phase: str = "online", peer: Peer | None = None
) -> PrivinfError:
    """Return what a call to `role` failed with, as one of our errors with `party` set.

    peer: what was dialled, for a client that may be told its address. Servers tell their clients none.
    """
    code, details, trailing = _told(error)
    kind = _KINDS.get(trailing.get(KIND, ""))
    if kind is None:
        kind, details = _bare(code, details, peer)
    text = f"{role}: {details[:_LONGEST]}"
    restored = kind(text)
    if isinstance(restored, DeadlineExceeded):
        restored.phase = trailing.get(PHASE, phase)
    if isinstance(restored, Overloaded):
        restored.retry_after = _retry(trailing)
    restored.party = trailing.get(PARTY, role)
    return restored


def attribute(error: PrivinfError, party: str | None, session: bytes | None = None) -> PrivinfError:
    """Name the role and the session of an error, unless something closer to its cause already has."""
    error.party = error.party or party
    error.session_id = error.session_id or (session.hex() if session is not None else None)
    return error


def _bare(code: StatusCode | None, details: str, peer: Peer | None) -> tuple[type[PrivinfError], str]:
    closed = _CLOSED in details  # amid a handshake: what it holds against us it has not said
    if code is StatusCode.UNAVAILABLE and not closed and (why := reason(details)) is not None:
        return Unauthenticated, f"no connection{'' if peer is None else f' to {peer.address}'}: {why.text}"
    if code is StatusCode.UNAVAILABLE:
        at = "" if peer is None else f" at {peer.address}"
        return ConnectError, f"cannot be reached{at}{_obstacle(details, peer)}"
    if code is StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:
        return ProtocolError, "a message over the size limit"
    if code is StatusCode.UNIMPLEMENTED and "ompression algorithm" in details:
        return ProtocolError, "takes no compressed messages"
    if code in _BARE:
        return _BARE[code]
    return PartyError, f"answered {code.name if code else 'nothing'}"


def _obstacle(details: str, peer: Peer | None) -> str:
    """What kept us from a server, where gRPC says it."""
    if not details.startswith(("failed to connect", *_UNRESOLVED)):
        return ""
    found = next((meaning for word, meaning in _OBSTACLES if word in details), "")
    without_tls = peer is not None and peer.renewal is None
    return f": {_UNENCRYPTED if found == _REFUSED and without_tls else found}" if found else ""


def _retry(trailing: dict[str, str]) -> float | None:
    """Return the hint of a server that said a word, or one for a call that gRPC itself has refused."""
    if KIND not in trailing:
        return 1.0
    said = trailing.get(RETRY, "")
    honest = said.isascii() and said.isdigit() and len(said) < 10
    return min(int(said), _LONGEST_RETRY) / 1000 if honest else None


def _told(error: grpc.RpcError) -> tuple[StatusCode | None, str, dict[str, str]]:
    """Return the code, the message and the trailing metadata that came of a call."""
    if not isinstance(error, grpc.Call):
        return None, "", {}
    pairs: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()
    trailing = {key: value for key, value in pairs if isinstance(value, str)}
    return error.code(), error.details() or "", trailing
