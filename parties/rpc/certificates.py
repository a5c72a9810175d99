"""Our own certificate: read, checked, and read anew once its files are replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privinf.config import Tls
from privinf.errors import ConfigError
from privinf.parties.rpc.own import check_own

if TYPE_CHECKING:
    from cryptography import x509

_UNCHECKED: Final = datetime.max.replace(tzinfo=UTC)
Told = Callable[[ConfigError], None]
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Own:
    """What the three files hold."""

    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)
    ends: datetime

    def require_current(self, path: Path) -> None:
        """Refuse a certificate that has expired: every peer would, and say less."""
        if self.ends <= datetime.now(UTC):
            raise ConfigError(f"{path} expired on {self.ends:%Y-%m-%d}: put a new certificate in its place")


def read(tls: Tls, role: str | None = None) -> Own:
    """Read and check the files.

    Raises:
        ConfigError: one cannot be read, is no PEM, has expired, is another role's, or the key belongs to another
            certificate.
    """
    ca, cert, key = (_pem(path) for path in (tls.ca, tls.cert, tls.key))
    own = Own(ca, cert, key, _end(tls, ca, cert, key))
    if role is not None:
        check_own(tls, role)
    own.require_current(tls.cert)
    return own


class Renewal:
    """The files as they are now; what takes their place is used once it fits, and until then what was before."""

    def __init__(self, tls: Tls, told: Told, role: str | None = None) -> None:
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
        """Refuse to go on with a certificate that has expired meanwhile."""
        self.own.require_current(self._tls.cert)


def _stamp(tls: Tls) -> _Stamp:
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
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if b"-----BEGIN" not in content:
        raise ConfigError(f"{path} is not a PEM file")
    return content


def _end(tls: Tls, ca: bytes, cert: bytes, key: bytes) -> datetime:
    """When our certificate ends, once all three are what they should be."""
    try:
        import cryptography  # noqa: F401
    except ImportError:  # a client can do without: gRPC itself then refuses what does not fit
        return _UNCHECKED
    leaf = _certificate(cert, tls.cert)
    _certificate(ca, tls.ca)
    if leaf.public_key() != _public_key(key, tls.key):
        raise ConfigError(f"{tls.key} is not the key of {tls.cert}")
    return leaf.not_valid_after_utc


def _certificate(content: bytes, path: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(content)[0]
    except Exception as error:  # the library has many kinds for what it cannot read
        raise ConfigError(f"{path} holds no certificate that can be read") from error


def _public_key(content: bytes, path: Path) -> object:
    from cryptography.hazmat.primitives import serialization

    try:
        return serialization.load_pem_private_key(content, None).public_key()
    except Exception as error:  # the same; an encrypted key asks for a password
        raise ConfigError(f"{path} holds no private key that can be read without a password") from error
