"""Keys and certificates of a deployment."""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from privinf.errors import ConfigError
from privinf.keys import ROLES, keygen


def certificate(path: Path) -> x509.Certificate:
    """Return a certificate."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_each_role_has_a_certificate_that_names_it_alone(tmp_path: Path) -> None:
    paths = keygen(tmp_path / "keys", ["party0.example", "10.0.0.7"])
    authority = certificate(paths["ca.pem"])
    for role in ROLES:
        issued = certificate(paths[f"{role}.pem"])
        issued.verify_directly_issued_by(authority)
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = names.get_values_for_type(x509.DNSName)
        assert [name for name in dns if name in ROLES] == [role]
        served = role != "client"
        assert ("party0.example" in dns) is served
        addresses = names.get_values_for_type(x509.IPAddress)
        assert addresses == ([ipaddress.ip_address("10.0.0.7")] if served else [])
        purposes = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert (ExtendedKeyUsageOID.SERVER_AUTH in purposes) is served
        key = load_pem_private_key(paths[f"{role}.key"].read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP256R1)


def test_keys_are_private_and_not_overwritten(tmp_path: Path) -> None:
    paths = keygen(tmp_path)
    assert {oct(path.stat().st_mode)[-3:] for name, path in paths.items() if name.endswith(".key")} == {"600"}
    before = {name: path.read_bytes() for name, path in paths.items()}
    paths["party0.key"].unlink()
    with pytest.raises(ConfigError, match=r"already holds .*ca\.key"):
        keygen(tmp_path)
    assert not paths["party0.key"].exists()
    keygen(tmp_path, force=True)
    assert all(path.read_bytes() != before[name] for name, path in paths.items())


def test_keys_of_two_runs_have_nothing_in_common(tmp_path: Path) -> None:
    first, second = keygen(tmp_path / "a"), keygen(tmp_path / "b")
    assert first["ca.pem"].read_bytes() != second["ca.pem"].read_bytes()


@pytest.mark.parametrize("host", ["", "a b", "https://party0", "party0:50051", "300.1.1.1", "d\u00e9aler"])
def test_a_host_is_a_host(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError):
        keygen(tmp_path / "keys", [host])
    assert not (tmp_path / "keys").exists()
    keygen(tmp_path / "keys", ["*.example", "[::1]", "10.0.0.7"])
    served = certificate(tmp_path / "keys" / "party1.pem")
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["party1", "*.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["::1", "10.0.0.7"]


@pytest.mark.parametrize("role", ["party0", "dealer"])
def test_certificates_satisfy_a_strict_verifier(tmp_path: Path, role: str) -> None:
    """As Python's ssl is by default from 3.13 on: RFC 5280 to the letter."""
    paths = keygen(tmp_path / "keys")
    client, server = (ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(paths["ca.pem"])
    server.load_cert_chain(paths[f"{role}.pem"], paths[f"{role}.key"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=role)
    theirs = server.wrap_bio(up, down, server_side=True)
    assert _shake_hands(ours, theirs)


def _shake_hands(*sides: ssl.SSLObject) -> bool:
    done = set[ssl.SSLObject]()
    for _ in range(8):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
                done.add(side)
    return len(done) == len(sides)
