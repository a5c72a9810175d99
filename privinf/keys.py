"""Makes the keys and certificates of a deployment: one authority, and one certificate for each role."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privinf.addresses import ip_of, parse_host
from privinf.errors import ConfigError

Key = ec.EllipticCurvePrivateKey

ROLES = ("dealer", "party0", "party1", "client")
# Of the equivariant mode: best under an authority of its own, so that its server can never pose as a party.
EQUIVARIANT_ROLES = ("equivariant", "client")
MOST_DAYS = 36500
LOCAL_HOSTS = ("localhost", "127.0.0.1")
_SKEW = timedelta(hours=1)  # a certificate is used at once, on machines whose clocks differ


def keygen(
    directory: str | Path,
    hosts: Sequence[str] = LOCAL_HOSTS,
    *,
    days: int = 365,
    force: bool = False,
    roles: Sequence[str] = ROLES,
) -> dict[str, Path]:
    """Write ca.pem, ca.key and ROLE.pem, ROLE.key for each role; return the paths by file name.

    The role is a DNS name of its certificate, and that is what every peer checks. Move each ROLE.key to the
    machine of that role, and ca.key away from all of them. Nothing that exists is overwritten unless `force`.
    """
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MOST_DAYS:
        raise ConfigError(f"days must be 1 to {MOST_DAYS}, not {days!r}")
    hosts = [_host(host) for host in hosts]
    if claimed := sorted(set(hosts) & {*ROLES, *roles}):
        raise ConfigError(
            f"{', '.join(claimed)}: a role is not a host name; peers would refuse the certificates"
        )
    folder = Path(directory)
    paths = {name: folder / name for stem in ("ca", *roles) for name in (f"{stem}.pem", f"{stem}.key")}
    present = sorted(path.name for path in paths.values() if path.exists())
    if present and not force:
        raise ConfigError(f"{folder} already holds {', '.join(present)}: nothing was written")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, days)
    _save(paths, "ca", authority_key, authority)
    for role in roles:
        key = ec.generate_private_key(ec.SECP256R1())
        _save(paths, role, key, _certificate(role, key, hosts, authority, authority_key, days))
    return paths


def _host(text: str) -> str:
    """A host as an address has it, or all names under one."""
    star = "*." if text.startswith("*.") else ""
    return star + parse_host(text.removeprefix(star))


def _authority(key: Key, days: int) -> x509.Certificate:
    name = _name("privinf authority")
    return _builder(name, name, key, days, ("key_cert_sign", "crl_sign")).sign(key, hashes.SHA256())


def _certificate(
    role: str, key: Key, hosts: Sequence[str], authority: x509.Certificate, authority_key: Key, days: int
) -> x509.Certificate:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role != "client":
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    names = [role, *(hosts if role != "client" else ())]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name(role), authority.subject, key, days, ("digital_signature",))
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, days: int, uses: Collection[str]
) -> x509.CertificateBuilder:
    """A certificate for these uses of its key and no other: an authority's where it may sign others."""
    now, ca = datetime.now(UTC), "key_cert_sign" in uses
    usage = x509.KeyUsage(
        digital_signature="digital_signature" in uses,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign="crl_sign" in uses,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        # RFC 5280 asks for it, and Python's ssl from 3.13 on refuses certificates without.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(host: str) -> x509.GeneralName:
    ip = ip_of(host)
    return x509.DNSName(host) if ip is None else x509.IPAddress(ip)


def _save(paths: dict[str, Path], stem: str, key: Key, certificate: x509.Certificate) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(paths[f"{stem}.key"], private, 0o600)
    _write(paths[f"{stem}.pem"], certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a new file with its final mode from the first byte; an old one is replaced, not opened."""
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)
