"""Configuration from files and the environment: what is not understood is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privinf.addresses import Address
from privinf.config import ClientConfig, DealerConfig, PartyConfig, Tls
from privinf.errors import ConfigError
from privinf.protocols.contract import QueryShape
from privinf.settings import load

FILE = """
party = 0
dealer = "dealer:1"
peer = "party1:2"
store = "/var/lib/privinf"
ahead = 2
shapes = [{task = "embed", batch = 1, tokens = 128}]
max_seconds = 60

[tls]
ca = "ca.pem"
cert = "party0.pem"
key = "party0.key"
"""
TLS = Tls(Path("ca.pem"), Path("party0.pem"), Path("party0.key"))


@pytest.fixture(autouse=True)
def set_variables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what sets variables of the environment, in which there is none of ours."""
    for name in os.environ:
        if name.startswith("PRIVINF_"):
            monkeypatch.delenv(name)

    def set_all(**given: str) -> None:
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a configuration file."""
    file = tmp_path / "party.toml"
    file.write_text(FILE)
    return file


def test_a_file_is_read(path: Path) -> None:
    assert load(PartyConfig, path) == PartyConfig(
        party=0,
        dealer="dealer:1",
        peer="party1:2",
        store=Path("/var/lib/privinf"),
        ahead=2,
        shapes=(QueryShape("embed", 1, 128),),
        max_seconds=60.0,
        tls=TLS,
    )


def test_the_environment_wins_over_the_file_and_an_argument_over_both(
    path: Path, set_variables: Callable[..., None]
) -> None:
    set_variables(
        PRIVINF_AHEAD="3",
        PRIVINF_SHAPES="embed:1:64,classify:2:32",
        PRIVINF_KEY="other.key",
        PRIVINF_MAX_SESSIONS="4",
        PRIVINF_JOURNAL="opened.log",
        PRIVINF_HOME="is someone else's",
        PATH="/bin",
    )
    config = load(PartyConfig, path, max_sessions=5, dealer=None)
    assert (config.ahead, config.max_sessions, config.dealer) == (3, 5, Address("dealer", 1))
    assert config.journal == Path("opened.log")
    assert config.shapes == (QueryShape("embed", 1, 64), QueryShape("classify", 2, 32))
    assert config.tls == replace(TLS, key=Path("other.key"))


def test_a_client_needs_no_file(set_variables: Callable[..., None]) -> None:
    set_variables(PRIVINF_PARTIES="a:1,b:2", PRIVINF_INSECURE_NO_TLS="true", PRIVINF_DEADLINE="5")
    expected = ClientConfig(parties=("a:1", "b:2"), insecure_no_tls=True, deadline=5.0)
    assert load(ClientConfig) == expected


def test_an_unknown_key_is_refused_with_the_likely_one(
    path: Path, set_variables: Callable[..., None]
) -> None:
    path.write_text("aheed = 3\n" + FILE)
    with pytest.raises(ConfigError, match="aheed is unknown: did you mean ahead"):
        load(PartyConfig, path)
    path.write_text(FILE + 'keys = "x"')
    with pytest.raises(ConfigError, match="keys is unknown: did you mean key"):
        load(PartyConfig, path)
    with pytest.raises(ConfigError, match="zzz is unknown: choose one of"):
        load(DealerConfig, insecure_no_tls=True, zzz=1)
    set_variables(PRIVINF_MAX_SESSION="1")
    with pytest.raises(ConfigError, match="did you mean PRIVINF_MAX_SESSIONS"):
        load(DealerConfig)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ahead", '"two"'),
        ("ahead", "true"),
        ("ahead", "1.5"),
        ("store", "3"),
        ("shapes", '"embed:1"'),
        ("shapes", "7"),
        ("shapes", '[{task = "embed"}]'),
        ("insecure_no_tls", '"perhaps"'),
        ("party", "2"),
        ("max_store_bytes", "0"),
        ("peer", '""'),
        ("passes_ahead", "0"),
        ("max_ahead_bytes", "0"),
        ("max_batch", "0"),
        ("idle_seconds", "0.0"),
        ("idle_seconds", "true"),
        ("max_seconds", "nan"),
        ("journal", "3"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(path: Path, key: str, value: str) -> None:
    lines = [line for line in FILE.splitlines() if not line.startswith(f"{key} ")]
    path.write_text("\n".join([f"{key} = {value}", *lines]))
    with pytest.raises(ConfigError):
        load(PartyConfig, path)


def test_what_is_missing_is_named(tmp_path: Path, set_variables: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match="lacks party, store"):
        load(PartyConfig)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(PartyConfig, tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("party = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(PartyConfig, tmp_path / "bad.toml")
    set_variables(PRIVINF_CA="a", PRIVINF_CERT="b")
    with pytest.raises(ConfigError, match="lacks key"):
        load(DealerConfig)


@pytest.mark.parametrize("options", [{}, {"tls": TLS, "insecure_no_tls": True}])
def test_no_tls_must_be_said(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"certificates are missing|exclude each other"):
        DealerConfig(**options)


def test_the_place_of_a_key_does_not_print() -> None:
    assert "party0.key" not in repr(DealerConfig(tls=TLS))
