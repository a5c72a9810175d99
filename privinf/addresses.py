"""Addresses as users write them, host:port: parsed before any socket or gRPC sees them, and refused with a reason."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from privinf.errors import ConfigError

_HIGHEST = 65535
# A host name as resolvers take it, with the underscores that container networks use.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_LONGEST_NAME = 253


@dataclass(frozen=True)
class Address:
    """A host (a name, an IPv4 address or an IPv6 address without brackets) and a port; 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read host:port; nothing is guessed, neither a port nor a host.

        Raises:
            ConfigError: what is written is no address; the message says what is missing.
        """
        host, port = _split(text)
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > _HIGHEST:
            raise ConfigError(f"{text!r}: the port is a number up to {_HIGHEST}")
        return cls(_checked_host(host, text), int(port))

    @classmethod
    def of(cls, address: Address | str) -> Address:
        """An address, also of one that is still text."""
        return cls.parse(address) if isinstance(address, str) else address

    @property
    def target(self) -> str:
        """What gRPC dials; with the scheme said, no host name is taken for one."""
        return f"dns:///{self}"

    def with_port(self, port: int) -> Address:
        """The same host with another port."""
        return Address(self.host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host as a number, where it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def parse_host(text: str) -> str:
    """Read a host without a port; an IPv6 address may stand in brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return _checked_host(bare, text)


def _split(text: str) -> tuple[str, str]:
    if "/" in text or text.startswith("unix:"):
        raise ConfigError(f"{text!r}: write only host:port; URL schemes and Unix sockets are not supported")
    if len(parts := re.split(r"[\s,]+", text)) > 1 and all(":" in part for part in parts):
        raise ConfigError(f"{text!r} is not one address: separate two addresses with a comma alone")
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        raise ConfigError(f"{text!r} has no port: write host:port, such as 127.0.0.1:50051")
    if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
        return host[1:-1], port
    if ":" in host or "[" in host:
        raise ConfigError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:50051")
    return host, port


def _checked_host(host: str, text: str) -> str:
    if not host:
        raise ConfigError(
            f"{text!r} has no host: write 127.0.0.1, a name, or 0.0.0.0 to listen on all addresses"
        )
    if _is_ipv6(host):
        return host
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(f"{text!r}: {host!r} is not a host name")
    if labels[-1].isdigit() and ip_of(host) is None:
        raise ConfigError(f"{text!r}: {host!r} is not an IPv4 address")
    return host


def _is_ipv6(host: str) -> bool:
    return isinstance(ip_of(host), ipaddress.IPv6Address)
