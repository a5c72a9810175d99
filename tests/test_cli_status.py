"""`privinf status`: what a client's servers say of themselves, and whether all of them serve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy
from deployment import Deployment, in_this_process
from said import error_line, its_json

from privinf.cli import _fail, main
from privinf.cli.status import SHAPES, SHOWN, _cells, _short, _state
from privinf.config import ClientConfig
from privinf.errors import (
    ConnectError,
    MismatchError,
    Overloaded,
    PrivinfError,
    ProtocolError,
    Unauthenticated,
)
from privinf.keys import keygen
from privinf.protocols.contract import Identity, QueryShape
from privinf.sdk import standing
from privinf.sdk.standing import PartyStatus, Standing, standings
from privinf.v1 import common_pb2, party_pb2


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a small model, served, with one preparation kept ready."""
    folder = tmp_path_factory.mktemp("status")
    source = toy.checkpoint(folder / "toy")
    ahead = {"ahead": 1, "shapes": (QueryShape("embed", 1, 8),)}
    with in_this_process(source, toy.share(source, folder / "shared"), folder, party0=ahead) as deployment:
        with deployment.client() as client:
            while not all(status.ready for status in client.status()):
                pass
        yield deployment


def words(served: Deployment, tmp_path: Path, *more: str) -> list[str]:
    return ["status", "--config", served.toml(tmp_path / "client.toml"), *more]


def test_all_serve(served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = words(served, tmp_path, "--dealer", served.dealer, "--model", str(served.model))
    assert main([*asked, "--json"]) == 0
    document = its_json(capsys)
    assert document["serving"] is True
    servers = {server["role"]: server for server in document["servers"]}
    assert list(servers) == ["party0", "party1", "dealer"]
    assert [servers[role]["address"] for role in servers] == [*served.addresses, served.dealer]
    ids = {
        name: {server[name] for server in servers.values()} for name in ("model_id", "plan_hash", "protocol")
    }
    assert all(len(found) == 1 for found in ids.values())
    assert ids["protocol"] == {"masked"}
    assert servers["party0"]["ready"] == [{"task": "embed", "batch": 1, "tokens": 8, "count": 1}]
    assert (servers["party1"]["sessions"], servers["party1"]["max_sessions"]) == (0, 8)
    assert "ready" not in servers["dealer"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert said.count("serves") == 3
    assert "1 x embed:1:8" in said


def test_without_the_dealers_address_the_parties_are_asked(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(served, tmp_path), "--json"]) == 0
    assert [server["role"] for server in its_json(capsys)["servers"]] == ["party0", "party1"]


def test_one_that_does_not_answer_decides_the_code(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = replace(served, addresses=(served.addresses[0], "127.0.0.1:1"))
    assert main([*words(lost, tmp_path), "--json"]) == ConnectError.exit_code
    document = its_json(capsys)
    assert [server["serves"] for server in document["servers"]] == [True, False]
    assert document["serving"] is False
    assert document["servers"][1]["error"] == "party1: cannot be reached at 127.0.0.1:1: nobody listens there"
    assert main(words(lost, tmp_path)) == ConnectError.exit_code
    assert "ConnectError: party1: cannot be reached at 127.0.0.1:1" in capsys.readouterr().out


def test_servers_of_another_model_are_named(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = toy.share(served.source, tmp_path / "other") / "client"
    assert main(words(served, tmp_path, "--model", str(other))) == MismatchError.exit_code
    assert capsys.readouterr().out.count("differs in model_id") == 2


def test_a_strangers_certificate_is_told_nothing(served: Deployment, tmp_path: Path) -> None:
    keygen(tmp_path / "keys")
    keys = {name: tmp_path / "keys" / file for name, file in (("cert", "client.pem"), ("key", "client.key"))}
    config = ClientConfig(parties=served.addresses, dealer=served.dealer, tls=replace(served.tls, **keys))  # type: ignore[arg-type]
    for one in standings(config):
        assert (one.identity, one.status) == (None, None)
        assert isinstance(one.error, ConnectError | Unauthenticated)


def test_the_other_mode_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(main(["status", "--mode", "equivariant", "--server", "127.0.0.1:1"]), 78, capsys)
    assert "for the private mode alone" in line


def test_what_servers_write_commands_no_terminal() -> None:
    assert _short("a\x1b[31mb\n") == "a?[31mb?"
    assert len(_short("x" * 1000)) == SHOWN


def test_no_error_commands_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert _fail(ProtocolError("party1: \x1b[2Ja\nb")) == ProtocolError.exit_code
    assert capsys.readouterr().err == "privinf: ProtocolError: party1: ?[2Ja?b\n"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "serves"),
        (MismatchError("a"), "differs"),
        (ConnectError("b"), "no answer"),
        (Overloaded("c"), "refuses"),
    ],
)
def test_a_state_says_what_a_server_did(error: PrivinfError | None, state: str) -> None:
    assert _state(error) == state


def test_a_long_list_of_what_is_ready_is_cut() -> None:
    ready = {QueryShape("embed", 1, tokens): 1 for tokens in range(1, SHAPES + 4)}
    status = PartyStatus("party0", ready, 0, 8, 0, 1)
    cells = _cells(Standing("party0", "a:1", Identity("1", "masked", "m:1", "h"), status))
    assert cells[6].endswith(", and 3 more")
    assert cells[6].count("embed") == SHAPES


def test_a_shape_that_cannot_be_is_the_servers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = party_pb2.StatusReply(
        ready=[party_pb2.Ready(shape=common_pb2.QueryShape(task="x" * 999), count=1)]
    )
    monkeypatch.setattr(standing, "ask", lambda *given: reply)
    with pytest.raises(ProtocolError, match="party1 names a shape that cannot be") as caught:
        standing.status_of(SimpleNamespace(role="party1"), 1.0)  # type: ignore[arg-type]
    assert caught.value.party == "party1"


def test_a_server_of_another_role_cannot_fill_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = common_pb2.AttestReply(role="\x1b[2J" + "x" * 9999)
    monkeypatch.setattr(standing, "ask", lambda *given: reply)
    with pytest.raises(MismatchError, match=r"a:1 is '\\x1b\[2Jx+', not party1") as caught:
        standing.attest(SimpleNamespace(role="party1", address="a:1"), 1.0)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 100
