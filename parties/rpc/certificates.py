"""Our own certificate: read, checked, and read anew once its files are replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from privinf.config import Tls
from privinf.errors import ConfigError, FileError
from privinf.parties.rpc.roles import ROLES

Told = Callable[[ConfigError], None]
_KNOWN: Final = ROLES | {"equivariant"}


@dataclass(frozen=True)
class Own:
    """What the three files hold."""

    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)
    ends: datetime


def read(tls: Tls, role: str) -> Own:
    """Read and check the files.

    Raises:
        ConfigError: one cannot be read, is no PEM, has expired, is another role's, or the key belongs to another
            certificate.
    """
    ca, cert, key = (_pem(path) for path in (tls.ca, tls.cert, tls.key))
    leaf = _certificate(cert, tls.cert)
    _certificate(ca, tls.ca)
    check_own(leaf, tls.cert, role)
    if leaf.public_key() != _public_key(key, tls.key):
        raise ConfigError(f"{tls.key} is not the key of {tls.cert}")
    return Own(ca, cert, key, leaf.not_valid_after_utc)


def check_own(certificate: x509.Certificate, path: Path, role: str) -> None:
    """Refuse a certificate that is not `role`'s or not of today, by the file's name and what to do about it.

    Peers would refuse it too, without a word of why; and the certificate of another role would pose as that.
    """
    require_role(certificate, path, role)
    require_dates(certificate, path, datetime.now(UTC))


def require_role(certificate: x509.Certificate, path: Path, role: str) -> None:
    """Raise ConfigError unless the certificate names this role and no other."""
    found = sorted(_KNOWN.intersection(_names(certificate)))
    if found == [role]:
        return
    whose = f"is the certificate of {found[0]}" if len(found) == 1 else f"names {len(found)} roles, not one"
    todo = f"give --cert and --key the files {role}.pem and {role}.key of `privinf keygen`"
    raise ConfigError(f"{path} {whose}, and {role} needs its own: {todo}")


def require_dates(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    """Raise ConfigError unless the certificate holds at this moment."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    todo = "make a new one with `privinf keygen`, for every role if the authority has expired too"
    if ends <= now:
        raise ConfigError(f"{path} expired on {ends:%Y-%m-%d}: {todo}")
    if now < begins:
        raise ConfigError(
            f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC on: is this machine's clock right?"
        )


class Renewal:
    """The files as they are now; what takes their place is used once it fits, and until then what was before."""

    def __init__(self, tls: Tls, told: Told, role: str) -> None:
        self._tls, self._role, self._told, self._lock = tls, role, told, threading.Lock()
        self._stamp = _stamp(tls)
        self.own = read(tls, role)

    def renewed(self) -> Own | None:
        """What has been put in the files' place since the last time, if anything has and it fits."""
        with self._lock:
            stamp = _stamp(self._tls)
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                own = read(self._tls, self._role)
            except ConfigError as error:  # half of it may be in place: it is read again when it changes again
                self._told(ConfigError(f"the replaced certificate is not used: {error}"))
                return None
            if own == self.own:
                return None
            self.own = own
            return own

    def require_current(self) -> None:
        """Refuse to go on with a certificate that has expired meanwhile: every peer would, and say less."""
        path, ends = self._tls.cert, self.own.ends
        if ends <= datetime.now(UTC):
            raise ConfigError(f"{path} expired on {ends:%Y-%m-%d}: put a new certificate in its place")


def _stamp(tls: Tls) -> tuple[tuple[int, int, int], ...]:
    return tuple(_file_stamp(path) for path in (tls.ca, tls.cert, tls.key))


def _file_stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = Path(path).stat()
    except OSError:  # in the middle of being replaced, or gone: reading it says so
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _pem(path: Path) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FileError.unread(path, error) from error
    if b"-----BEGIN" not in content:
        raise ConfigError(f"{path} is not a PEM file")
    return content


def _certificate(content: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except Exception as error:  # the library has many kinds for what it cannot read
        raise ConfigError(f"{path} holds no certificate that can be read") from error


def _public_key(content: bytes, path: Path) -> object:
    try:
        return serialization.load_pem_private_key(content, None).public_key()
    except Exception as error:  # the same; an encrypted key asks for a password
        raise ConfigError(f"{path} holds no private key that can be read without a password") from error


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)
