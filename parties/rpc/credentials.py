"""Who is at the other end: mutual TLS, where a role is a DNS name in a certificate of our authority."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc

from privinf.addresses import Address
from privinf.config import Tls
from privinf.errors import ConfigError, Unauthenticated
from privinf.parties.rpc import descriptors
from privinf.parties.rpc.certificates import Own, Renewal, Told
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.listening import listen
from privinf.parties.rpc.roles import ROLES

CLAIM: Final = "privinf-role"  # metadata that is believed without TLS alone
MESSAGE_LIMIT: Final = CHUNK + 4096  # a chunk with what stands before it; whatever is larger goes in several

_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.http2.max_frame_size", CHUNK),
    ("grpc.http2.max_ping_strikes", 0),  # those who ask have shown a certificate
    ("grpc.max_connection_age_ms", 3_600_000),  # then new calls shake hands anew; those under way go on
    ("grpc.so_reuseport", 0),  # two servers on one port are a mistake
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what is unpacked has no bound
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),  # a peer whose machine vanished is noticed after 15 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),  # a long computation sends nothing: go on asking
]
_DIAL: Final[list[tuple[str, Any]]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    # So long an attempt may take: a busy server needs time to shake hands, and after a cut one must not wait for long.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


def _warn(what: ConfigError | str) -> None:
    print(f"WARNING: {what}", file=sys.stderr, flush=True)


@dataclass(eq=False, repr=False)
class Peer:
    """A dialled role; every call carries `metadata`, and is made on the channel of its moment."""

    role: str
    address: Address
    metadata: tuple[tuple[str, str], ...]
    opened: Callable[[], grpc.Channel]
    renewal: Renewal | None = None

    def __post_init__(self) -> None:
        self._lock, self._channels = threading.Lock(), [self.opened()]

    @property
    def channel(self) -> grpc.Channel:
        """The channel for the next call: a new one once our certificate's files were replaced.

        Calls under way stay on theirs, through one more replacement.
        """
        if self.renewal is None:
            return self._channels[-1]
        with self._lock:
            if self.renewal.renewed():
                self._channels.append(self.opened())
                for channel in self._channels[:-2]:
                    channel.close()
                self._channels = self._channels[-2:]
            self.renewal.require_current()
            return self._channels[-1]

    def close(self) -> None:
        """End every channel, and the calls on it."""
        for channel in self._channels:
            channel.close()


def dial(address: Address | str, role: str, tls: Tls | None, own_role: str, told: Told = _warn) -> Peer:
    """Return a channel to `address` that only a certificate of `role` can answer; connects on first use."""
    address = Address.of(address)
    options = _OPTIONS + _DIAL
    if tls is None:
        insecure = partial(grpc.insecure_channel, address.target, options)
        return Peer(role, address, ((CLAIM, own_role),), insecure)
    options.append(("grpc.ssl_target_name_override", role))
    renewal = Renewal(tls, told, own_role)

    def secure() -> grpc.Channel:
        own = renewal.own
        credentials = grpc.ssl_channel_credentials(own.ca, own.key, own.cert)
        return grpc.secure_channel(address.target, credentials, options=options)

    return Peer(role, address, (), secure, renewal)


def server_options(most: int | None = None) -> list[tuple[str, Any]]:
    """Return the options of a server, of so many connections at most."""
    return _OPTIONS + descriptors.options(most)


def bind(server: grpc.Server, address: Address | str, tls: Tls | None, told: Told, role: str) -> int:
    """Listen on `address`, port 0 for any; return the port. Each connection is shown what the files then hold.

    `role` is whose certificate it must be.
    """
    address = Address.of(address)
    if tls is None:
        warn_insecure()
        return listen(server.add_insecure_port, address)
    renewal = Renewal(tls, told, role)
    credentials = grpc.dynamic_ssl_server_credentials(
        _shown(renewal.own), lambda: _shown(renewal.renewed()), require_client_authentication=True
    )
    return listen(lambda one: server.add_secure_port(one, credentials), address)


def caller(context: grpc.ServicerContext, secure: bool) -> str:
    """Return the one role that the caller's certificate names."""
    if secure:
        proven = _proven(context).get("x509_subject_alternative_name", [])
        names = {name.decode("ascii", "replace") for name in proven}
    else:
        names = {dict(context.invocation_metadata()).get(CLAIM, "")}
    roles = list(ROLES.intersection(names))
    if len(roles) != 1:
        raise Unauthenticated("the certificate names no role, or more than one")
    return roles[0]


def client_of(context: grpc.ServicerContext, secure: bool) -> str:
    """Return who a caller is among those of its role: its certificate's fingerprint, or its address."""
    if not secure:
        return context.peer().rpartition(":")[0]
    (certificate,) = _proven(context)["x509_pem_cert"]
    return hashlib.sha256(certificate).hexdigest()


def warn_insecure() -> None:
    """Say on stderr what running without certificates means."""
    _warn("insecure_no_tls: anyone on the network can read all that is sent and pose as any role")


def _proven(context: grpc.ServicerContext) -> Mapping[str, Any]:
    """The stubs say bytes for the values; each is a list of them."""
    return context.auth_context()


def _shown(own: Own | None) -> Any:
    """What gRPC takes for a server's certificate; None is what it has."""
    return own and grpc.ssl_server_certificate_configuration([(own.key, own.cert)], own.ca)
