"""Every setting of every role is obeyed by it, or refused: none is taken and forgotten."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SHAPE, Cluster, ask
from sessions import freed, generate

from privinf.cli import main
from privinf.config import (
    PARTY0_ALONE,
    ClientConfig,
    DealerConfig,
    EquivariantClientConfig,
    EquivariantConfig,
    PartyConfig,
)
from privinf.errors import ConfigError

KINDS: tuple[Any, ...] = (PartyConfig, DealerConfig, ClientConfig, EquivariantConfig, EquivariantClientConfig)
NEEDED: dict[Any, dict[str, Any]] = {
    PartyConfig: {"party": 0, "dealer": "a:1", "peer": "b:1", "store": Path("/nothing")},
    DealerConfig: {},
    ClientConfig: {"parties": ("a:1", "b:1")},
    EquivariantConfig: {},
    EquivariantClientConfig: {"server": "a:1"},
}


def _recording(kind: Any, reads: dict[Any, set[str]]) -> Any:
    """A configuration that notes which of its settings are read once it is made."""

    class Recording(kind):
        def __post_init__(self) -> None:
            super().__post_init__()
            object.__setattr__(self, "made", True)

        def __getattribute__(self, name: str) -> Any:
            if object.__getattribute__(self, "__dict__").get("made"):
                reads.setdefault(object.__getattribute__(self, "__dict__").get("party", kind), set()).add(
                    name
                )
            return object.__getattribute__(self, name)

    return Recording


@pytest.mark.parametrize("role", ["dealer", "party"])
def test_threads_are_those_of_the_process(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("privinf.protocols.kernels.use_threads", asked.append)
    for name in ("serve.DealerServer", "serve.PartyServer", "serve.serve_until_stopped"):
        monkeypatch.setattr(f"privinf.parties.{name}", lambda *given: None)
    for program in ("dealer_program", "party_program"):
        monkeypatch.setattr(f"privinf.models.sharing.bundle.{program}", lambda *given: None)
    config = tmp_path / "role.toml"
    config.write_text("insecure_no_tls = true\nthreads = 3\n")
    own = ["--party", "1", "--store", str(tmp_path / "store"), "--dealer", "a:1"] if role == "party" else []
    assert main([role, "--model", str(tmp_path), "--config", str(config), *own]) == 0
    assert asked == [3]


def test_every_setting_is_read_by_each_role_that_has_it(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one query and one generation; a setting that nothing reads cannot be obeyed."""
    reads: dict[Any, set[str]] = {}
    for name in ("PartyConfig", "DealerConfig", "ClientConfig"):
        monkeypatch.setattr(harness, name, _recording(getattr(harness, name), reads))
    options: dict[str, dict[str, Any]] = {
        "party0": {"ahead": 1, "shapes": (SHAPE,), "journal": tmp_path / "journal0"},
        "party1": {"journal": tmp_path / "journal1"},  # the bound of a journal is read where there is one
    }
    with Cluster(tmp_path, keys, options=options) as cluster:
        with cluster.link() as link:
            ask(link)
            generate(link, 2)
        freed(cluster)
    # With tls when it is made: one of them, never both. By the command, as a process has one number of threads.
    checked = {"insecure_no_tls", "threads"}
    for role, kind in {
        0: PartyConfig,
        1: PartyConfig,
        DealerConfig: DealerConfig,
        ClientConfig: ClientConfig,
    }.items():
        names = {item.name for item in fields(kind)} - checked
        assert names - reads[role] <= (set(PARTY0_ALONE) if role == 1 else set()), role


@pytest.mark.parametrize(
    ("name", "value"),
    [("ahead", 1), ("shapes", (SHAPE,))],
)
def test_party_1_refuses_what_party_0_decides(tmp_path: Path, name: str, value: Any) -> None:
    given = {"party": 1, "dealer": "a:1", "store": tmp_path, "insecure_no_tls": True}
    assert name in PARTY0_ALONE
    PartyConfig(**given)
    with pytest.raises(ConfigError, match=f"{name} is party 0's"):
        PartyConfig(**given | {name: value})


@pytest.mark.parametrize("given", [{"ahead": 1}, {"shapes": (SHAPE,)}])
def test_ahead_and_shapes_go_together(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"ahead \(--ahead\) and shapes \(--shape\) go together"):
        PartyConfig(**NEEDED[PartyConfig], insecure_no_tls=True, **given)


def _seconds() -> list[tuple[Any, str]]:
    return [(kind, item.name) for kind in KINDS for item in fields(kind) if item.type == "float"]


@pytest.mark.fast_cases(20)
@pytest.mark.parametrize(("kind", "name"), _seconds())
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e10])
def test_every_number_of_seconds_is_one(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is a number of seconds"):
        kind(**NEEDED[kind], insecure_no_tls=True, **{name: value})


def test_stopping_may_take_no_time_and_nothing_else_may() -> None:
    for kind, name in _seconds():
        given = NEEDED[kind] | {"insecure_no_tls": True, name: 0.0}
        if name == "stop_seconds":
            kind(**given)
        else:
            with pytest.raises(ConfigError):
                kind(**given)
