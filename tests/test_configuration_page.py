"""docs/configuration.md lists every key of every role, with the default, unit and variable that the code has."""

from __future__ import annotations

import os
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from privinf import config
from privinf.addresses import Address
from privinf.protocols.contract import QueryShape
from privinf.settings import load

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text("utf-8")
# The page's sections, and whose own keys they list.
SECTIONS: dict[str, type[Any]] = {
    "Every role": config._Role,
    "Certificates": config.Tls,
    "Every server": config.ServerConfig,
    "Servers that clients ask": config._Admitting,
    "A party": config.PartyConfig,
    "The dealer": config.DealerConfig,
    "The server of the equivariant mode": config.EquivariantConfig,
    "Every client": config._Asking,
    "A client of the private mode": config.ClientConfig,
    "A client of the equivariant mode": config.EquivariantClientConfig,
}
UNITS = {
    Address: "host:port",
    Path: "path",
    float: "seconds",
    bool: "true or false",
    QueryShape: "TASK:BATCH:TOKENS",
    config.Tls: "table",
    str: "host",
}


def default_of(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "required"
    if item.default is None or item.default == ():
        return "none"
    if isinstance(item.default, bool):
        return str(item.default).lower()
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default)


def unit_of(name: str, hint: Any) -> str:
    several = getattr(hint, "__origin__", None) is tuple
    kind = next((one for one in get_args(hint) if one is not type(None)), hint)
    if kind is int:
        return "bytes" if name.endswith("_bytes") else "port" if name.endswith("_port") else "number"
    return f"list of {UNITS[kind]}" if several else UNITS[kind]


def expected(kind: type[Any]) -> list[tuple[str, ...]]:
    """The rows of a section: the keys that a class adds or changes."""
    hints = get_type_hints(kind)
    own = [item for item in fields(kind) if item.name in kind.__annotations__]
    assert all(not item.name.endswith("_seconds") or hints[item.name] is float for item in own)
    return [
        (
            f"`{item.name}`",
            default_of(item),
            unit_of(item.name, hints[item.name]),
            "none" if item.name == "tls" else f"`{config.PREFIX}{item.name.upper()}`",
        )
        for item in own
    ]


def rows(title: str) -> list[tuple[str, ...]]:
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line.split("|")[1:5]) for line in lines]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_lists_its_keys(title: str) -> None:
    assert rows(title) == expected(SECTIONS[title])


def test_no_role_is_left_out() -> None:
    bases = {base for role in config.ROLES for base in role.__mro__ if base is not object}
    assert bases | {config.Tls} == set(SECTIONS.values())


def test_every_row_says_what_its_key_means() -> None:
    meanings = [line.split("|")[5] for line in PAGE.splitlines() if re.match(r"\| `[a-z]", line)]
    assert len(meanings) == sum(len(expected(kind)) for kind in SECTIONS.values())
    assert all(len(meaning.strip()) > 10 for meaning in meanings)


EXAMPLES = {
    "party0.toml": config.PartyConfig,
    "dealer.toml": config.DealerConfig,
    "client.toml": config.ClientConfig,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith(config.PREFIX)]:
        monkeypatch.delenv(variable)
    (text,) = re.findall(rf"^```toml\n(# {re.escape(name)}\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / name).write_text(text)
    read = load(EXAMPLES[name], tmp_path / name)
    assert read.tls is not None
    assert read.tls.ca.name == "ca.pem"
