"""A role starts with its own certificate of today, or says which file is wrong, whose it is and what to do."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from dummy import DummyDealer, DummyParty

from privinf.config import (
    ClientConfig,
    DealerConfig,
    EquivariantClientConfig,
    EquivariantConfig,
    PartyConfig,
    Tls,
)
from privinf.equivariant.asking.link import Link as EquivariantLink
from privinf.equivariant.serving.server import Server as EquivariantServer
from privinf.errors import ConfigError
from privinf.keys import EQUIVARIANT_ROLES, ROLES, keygen
from privinf.parties.rpc.certificates import Renewal, read, require_dates, require_role
from privinf.parties.serve import DealerServer, PartyServer
from privinf.sdk.transport import Link

EVERY = sorted({*ROLES, *EQUIVARIANT_ROLES})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keygen(folder, roles=EVERY)
    return folder


def own(folder: Path, role: str) -> Tls:
    return Tls(ca=folder / "ca.pem", cert=folder / f"{role}.pem", key=folder / f"{role}.key")


def starting(role: str, tls: Tls, work: Path) -> Any:
    """What each role does first, with this certificate."""
    if role == "client":
        return Link(ClientConfig(parties=("localhost:1", "localhost:2"), tls=tls))
    if role == "dealer":
        return DealerServer(DealerConfig(listen="localhost:0", tls=tls), DummyDealer().program())
    if role == "equivariant":
        return EquivariantServer(work, EquivariantConfig(listen="localhost:0", tls=tls))
    party = int(role[-1])
    peer = {} if party else {"peer": "localhost:2"}
    fields = {
        "party": party,
        "listen": "localhost:0",
        "dealer": "localhost:1",
        "store": work / "store",
    } | peer
    return PartyServer(PartyConfig(**fields, tls=tls), DummyParty(party).program())


@pytest.mark.parametrize("role", EVERY)
@pytest.mark.parametrize("found", EVERY)
def test_each_role_starts_with_its_own_certificate_alone(
    made: Path, tmp_path: Path, role: str, found: str
) -> None:
    if role == found:
        read(own(made, found), role)
        return
    with pytest.raises(ConfigError) as failure:
        starting(role, own(made, found), tmp_path)
    said = str(failure.value)
    assert said.startswith(f"{made / found}.pem is the certificate of {found}, and {role} needs its own")
    assert f"{role}.pem and {role}.key" in said


def test_the_client_of_the_weaker_mode_checks_its_own_too(made: Path) -> None:
    config = EquivariantClientConfig(server="localhost:1", tls=own(made, "party0"))
    with pytest.raises(ConfigError, match="certificate of party0, and client needs its own"):
        EquivariantLink(config, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", EVERY)
def test_no_role_starts_with_a_certificate_that_has_expired(tmp_path: Path, role: str) -> None:
    keygen(tmp_path / "keys", days=1, roles=EVERY)
    path = tmp_path / "keys" / f"{role}.pem"
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    now = datetime.now(UTC)
    require_dates(certificate, path, now)
    with pytest.raises(ConfigError, match=rf"{role}\.pem expired on .*privinf keygen"):
        require_dates(certificate, path, now + timedelta(days=2))
    with pytest.raises(ConfigError, match=r"is valid from .* is this machine's clock right\?"):
        require_dates(certificate, path, now - timedelta(days=2))


def test_an_expired_certificate_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privinf.keys._SKEW", timedelta(days=3))
    monkeypatch.setattr("privinf.keys.timedelta", lambda days: timedelta(days=-days))
    keygen(tmp_path / "keys", days=1)
    for role in ROLES:
        with pytest.raises(ConfigError, match=rf"{role}\.pem expired on"):
            starting(role, own(tmp_path / "keys", role), tmp_path)


def test_a_certificate_of_several_roles_or_none_is_refused(made: Path) -> None:
    authority = x509.load_pem_x509_certificate((made / "ca.pem").read_bytes())
    with pytest.raises(ConfigError, match="names 0 roles, not one, and dealer needs its own"):
        require_role(authority, made / "ca.pem", "dealer")


def test_another_roles_certificate_put_in_the_place_of_our_own_is_not_used(tmp_path: Path) -> None:
    keygen(tmp_path / "keys")
    told: list[ConfigError] = []
    renewal = Renewal(own(tmp_path / "keys", "party1"), told.append, "party1")
    before = renewal.own
    for kind in ("pem", "key"):
        shutil.copy(tmp_path / "keys" / f"party0.{kind}", tmp_path / "keys" / f"party1.{kind}")
    assert renewal.renewed() is None
    assert renewal.own is before
    assert "is the certificate of party0, and party1 needs its own" in str(told[0])
