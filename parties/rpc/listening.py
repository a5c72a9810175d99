"""Where a server listens: addresses of this machine, shared with no other server, and why where it cannot."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from privinf.addresses import Address
from privinf.errors import ListenError

_WHY: Final = {
    errno.EADDRINUSE: "the address is in use: stop what has it, or choose another",
    errno.EACCES: "permission denied: ports below 1024 need a privilege",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no addresses of this kind",
}
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listen(add_port: Callable[[str], int], address: Address) -> int:
    """Have gRPC listen, through `add_port`, on every address of the host; return the port, one for all.

    Raises:
        ListenError: it cannot; the message says why.
    """
    port = address.port
    for one in _present(address):
        try:
            port = add_port(str(one.with_port(port)))
        except RuntimeError as error:
            raise refused(address, _obstacle(one.with_port(port))) from error
    return port


@contextmanager
def as_told(setting: str) -> Iterator[None]:
    """Have an address where a server cannot listen named with the setting that says it."""
    try:
        yield
    except ListenError as error:
        raise ListenError(f"{setting}: {error}") from error


def refused(address: Address, number: int | None) -> ListenError:
    """The error of an address where a server cannot listen, with what errno says."""
    why = "it was refused" if number is None else _WHY.get(number) or os.strerror(number).lower()
    return ListenError(f"cannot listen on {address}: {why}")


def resolve(address: Address) -> list[Address]:
    """The addresses of a host, as numbers."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(f"cannot listen on {address}: no such host") from error
    hosts = dict.fromkeys(str(where[0]) for *_, where in found)
    return [Address(host, address.port) for host in hosts]


def _present(address: Address) -> list[Address]:
    """Those that this machine has: a name may have others, as localhost has ::1 where IPv6 is off."""
    every = resolve(address)
    present = [one for one in every if _obstacle(one.with_port(0)) not in _ABSENT]
    if not present:
        raise refused(address, _obstacle(every[0].with_port(0)))
    return present


def _obstacle(address: Address) -> int | None:
    """What keeps a socket from this address, as errno says it."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
            probe.bind((address.host, address.port))
    except OSError as error:
        return error.errno
    return None
