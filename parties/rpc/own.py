"""Our own certificate, before it is shown to anybody: whose it is, and whether it holds today."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privinf.config import Tls
from privinf.errors import ConfigError
from privinf.parties.rpc import roles

if TYPE_CHECKING:
    from cryptography import x509

_KNOWN: Final = roles.ROLES | {"equivariant"}


def check_own(tls: Tls, role: str) -> None:
    """Refuse a certificate that is not `role`'s or not of today, by the file's name and what to do about it.

    Peers would refuse it too, without a word of why; and the certificate of another role would pose as that.
    """
    try:
        from cryptography import x509  # not where a link alone is used: peers check there
    except ImportError:
        return
    path = Path(tls.cert)
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):  # whoever reads all three files says what is wrong with them
        return
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


def _names(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)
