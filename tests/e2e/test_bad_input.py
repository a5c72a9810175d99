"""What a caller can get wrong: each ends with a typed error and its own exit code, and the servers go on serving."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from deployment import Deployment
from harness import free_port
from safetensors.numpy import load_file, save_file
from said import error_line

from privinf.cli import main
from privinf.config import Tls
from privinf.errors import (
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    FileError,
    InputError,
    MismatchError,
    ModelError,
    PrivinfError,
    Unauthenticated,
)
from privinf.models.programs import wire

pytestmark = pytest.mark.processes
TOO_LONG = "a" * 50 + " b" * toy.MAX_TOKENS


@pytest.fixture(autouse=True)
def _goes_on_serving(private: Deployment) -> Iterator[None]:
    yield
    with private.client() as client:
        assert len(client.embed(["calm"])) == 1
        assert [status.sessions for status in client.status()] == [0, 0]


@pytest.fixture
def run(private: Deployment, tmp_path: Path) -> Callable[..., int]:
    """Return `privinf COMMAND` with a good configuration, unless told otherwise."""

    def run(command: str, *words: str, model: Path = private.model, **changes: Any) -> int:
        config = private.toml(tmp_path / "client.toml", **changes)
        return main([command, "--model", str(model), "--config", config, *words])

    return run


def _closed_port() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def _refused(code: int, kind: type[PrivinfError], capsys: pytest.CaptureFixture[str], *said: str) -> None:
    """One line on stderr names kind and cause; nothing on stdout."""
    line = error_line(code, kind.exit_code, capsys)
    assert line.startswith(f"privinf: {kind.__name__}: ")
    assert all(word in line for word in said), line


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (None, "a text or a list of texts is needed, not NoneType"),
        (b"a text", "a text or a list of texts is needed, not bytes"),
        ("", "text 0 is empty"),
        ([""], "text 0 is empty"),
        (["calm", " \n"], "text 1 is empty"),
        (["calm", TOO_LONG], r"text 1 has 180 tokens and the model takes 128.*truncate=True"),
        (["calm", None], "text 1 is of type NoneType"),
    ],
)
def test_texts_that_are_none(private: Deployment, texts: list[str], said: str) -> None:
    with private.client() as client, pytest.raises(InputError, match=said):
        client.embed(texts)


def test_one_text_or_none_at_all(private: Deployment) -> None:
    with private.client() as client:
        one, listed = client.embed("calm"), client.embed(["calm"])
        assert np.allclose(one.vectors, listed.vectors, atol=0.01)
        none = client.embed([])
        assert (none.vectors.shape, none.stats.queries) == ((0, 32), 0)
        with pytest.raises(InputError, match="for embed, not for classify"):
            client.classify([])


@pytest.mark.parametrize("timeout", [-1, 0, float("nan"), 1e10])
def test_a_time_that_is_none_is_refused_before_anything_is_sent(private: Deployment, timeout: float) -> None:
    with private.client() as client, pytest.raises(InputError, match="timeout must be a number of seconds"):
        client.embed(["calm"], timeout=timeout)


def test_what_a_text_spells_is_text(private: Deployment) -> None:
    with private.client() as client:
        plain, control = client.embed("calm [SEP] sea"), client.embed("calm [SEP] sea", special_tokens=True)
        assert np.abs(plain.vectors - control.vectors).max() > 0.01


def test_truncation_is_a_way_out(private: Deployment) -> None:
    with private.client() as client:
        assert client.embed([TOO_LONG], truncate=True).vectors.shape == (1, 32)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no text was given"),
        (("",), "text 0 is empty"),
        (("calm", TOO_LONG), "text 1 has 180 tokens"),
    ],
)
def test_the_command_line_refuses_such_texts(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    _refused(run("embed", *words), InputError, capsys, said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"calm\nd\xffeep\n", "line 2, byte 2 is not UTF-8"),
        (b"", "is empty"),
        (b"calm\n\n", "line 2 is blank"),
    ],
)
def test_files_that_hold_no_texts(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    (tmp_path / "in.txt").write_bytes(content)
    _refused(run("embed", "--file", str(tmp_path / "in.txt")), InputError, capsys, "in.txt", said)
    _refused(run("embed", "--file", str(tmp_path / "no.txt")), FileError, capsys, "no.txt", "cannot be read")


def test_the_wrong_task(
    private: Deployment, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with private.client() as client, pytest.raises(InputError, match="this model is for embed"):
        client.classify(["calm"])
    _refused(
        run("classify", "calm"), InputError, capsys, "this model is for embed, not for classify: use embed"
    )


def test_a_directory_that_is_no_model(
    private: Deployment, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, said in (
        (private.shared / "nowhere", "not a shared model"),
        (private.shared, "not a shared model"),
        (private.source, "not a shared model"),
        (private.shared / "party0", "is party0's folder, not client's"),
    ):
        _refused(run("embed", "calm", model=wrong), ModelError, capsys, str(wrong), said)


@pytest.mark.parametrize(("role", "said"), [("dealer", "not party1's"), ("client", "not party1's")])
def test_a_party_started_on_anothers_folder(
    private: Deployment, tmp_path: Path, capfd: pytest.CaptureFixture[str], role: str, said: str
) -> None:
    keys = private.tls.ca.parent
    words = ["party", "--party", "1", "--dealer", _closed_port(), "--store", str(tmp_path / "store")]
    words += [
        "--ca",
        str(keys / "ca.pem"),
        "--cert",
        str(keys / "party1.pem"),
        "--key",
        str(keys / "party1.key"),
    ]
    assert main([*words, "--model", str(private.shared / role)]) == ModelError.exit_code
    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert (line["event"], line["kind"]) == ("ended", "ModelError")
    assert role in line["error"]
    assert said in line["error"]


@pytest.mark.parametrize("role", ["dealer", "party1"])
@pytest.mark.parametrize("setting", ["LISTEN", "HEALTH_PORT", "METRICS_PORT"])
def test_servers_that_cannot_listen_end_with_one_code(
    private: Deployment,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    setting: str,
) -> None:
    keys = private.tls.ca.parent
    words = [role.rstrip("1"), "--model", str(private.shared / role), "--ca", str(keys / "ca.pem")]
    words += ["--cert", str(keys / f"{role}.pem"), "--key", str(keys / f"{role}.key")]
    if role == "party1":
        words += ["--party", "1", "--dealer", _closed_port(), "--store", str(tmp_path / "store")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(f"PRIVINF_{setting}", f"127.0.0.1:{port}" if setting == "LISTEN" else str(port))
        assert main(words) == 71
    output = capfd.readouterr()
    ended = [line for line in map(json.loads, output.err.splitlines()) if line["event"] == "ended"]
    said = f"{setting.lower()}: cannot listen on 127.0.0.1:{port}: the address is in use: stop what has it"
    assert [line["error"].rpartition(",")[0] for line in ended] == [said]
    assert output.out == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_not_shared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    source = toy.checkpoint(tmp_path / "toy")
    weights = load_file(source / "model.safetensors")
    name = "encoder.layer.0.intermediate.dense.weight"
    weights[name][3, 4] = value
    save_file(weights, source / "model.safetensors")
    code = main(["share", str(source), "--out", str(tmp_path / "out")])
    _refused(code, ModelError, capsys, name, "NaN or infinite")
    assert not (tmp_path / "out").exists()


def test_certificates_of_another_authority(
    private: Deployment, foreign_keys: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = Tls(foreign_keys / "ca.pem", foreign_keys / "client.pem", foreign_keys / "client.key")
    with pytest.raises(Unauthenticated, match="certificate") as caught, private.client(tls=foreign):
        pass
    assert caught.value.party == "party0"
    _refused(run("embed", "calm", tls=foreign), Unauthenticated, capsys, "party0", "certificate")


def test_a_clients_certificate_that_the_parties_do_not_know(
    private: Deployment, foreign_keys: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = Tls(private.tls.ca, foreign_keys / "client.pem", foreign_keys / "client.key")
    code = run("embed", "calm", tls=mixed)
    line = capsys.readouterr().err
    assert code in (Unauthenticated.exit_code, ConnectError.exit_code)  # TLS 1.3 refuses after the handshake
    assert "party0" in line
    assert "certificate" in line


def test_a_certificate_of_another_role(private: Deployment) -> None:
    keys = private.tls.ca.parent
    dealers = Tls(private.tls.ca, keys / "dealer.pem", keys / "dealer.key")
    with pytest.raises(ConfigError, match="is the certificate of dealer, and client needs its own"):
        private.client(tls=dealers)


def test_certificates_that_do_not_exist(
    run: Callable[..., int], private: Deployment, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lost = Tls(tmp_path / "ca.pem", private.tls.cert, private.tls.key)
    _refused(run("embed", "calm", tls=lost), FileError, capsys, str(tmp_path / "ca.pem"))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_party_that_is_not_there(
    private: Deployment, run: Callable[..., int], capsys: pytest.CaptureFixture[str], lost: int
) -> None:
    addresses = list(private.addresses)
    addresses[lost] = _closed_port()
    code = run("embed", "calm", addresses=tuple(addresses))
    _refused(code, ConnectError, capsys, f"party{lost}", "cannot be reached")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "calm"), "this model is for embed, not for generate: use embed"),
        (("chat",), "this model is for embed, not for chat: use embed"),
        (("classify", "calm"), "this model is for embed"),
        (("embed", TOO_LONG), "text 0"),
        (("embed", "--out", "out.npy", TOO_LONG), "text 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_party_is_reached(
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(run(*words, addresses=(_closed_port(), _closed_port())), InputError, capsys, said)
    assert not list(tmp_path.glob("out.npy*"))


def test_parties_that_are_not_there_leave_no_pieces(run: Callable[..., int], tmp_path: Path) -> None:
    out, lost = tmp_path / "out.npy", (_closed_port(), _closed_port())
    assert run("embed", "--out", str(out), "calm", addresses=lost) == ConnectError.exit_code
    assert not list(tmp_path.glob("out.npy*"))


def test_parties_the_wrong_way_round(
    private: Deployment, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    _refused(run("embed", "calm", addresses=private.addresses[::-1]), Unauthenticated, capsys, "party0")


def test_a_deadline_that_cannot_be_met(
    private: Deployment, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with private.client() as client, pytest.raises(DeadlineExceeded) as caught:
        client.embed(["the night is long " * 6] * 2, timeout=0.05)
    assert caught.value.phase in ("connect", "offline", "online")
    assert run("embed", "--deadline", "0.02", "the night is long " * 6) == DeadlineExceeded.exit_code
    assert "DeadlineExceeded" in capsys.readouterr().err


def test_the_client_of_another_sharing(
    private: Deployment, tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    other = toy.share(private.source, tmp_path / "other") / "client"
    stranger = replace(private, shared=tmp_path / "other")
    with pytest.raises(MismatchError, match="model"), stranger.client():
        pass
    _refused(run("embed", "calm", model=other), MismatchError, capsys, "party0", "model")


def test_an_edited_plan(
    private: Deployment, tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    edited = Path(shutil.copytree(private.model, tmp_path / "edited"))
    plan = json.loads((edited / "plan.json").read_text())
    (edited / "plan.json").write_text(json.dumps(plan | {"result_bits": plan["result_bits"] + 1}))
    _refused(run("embed", "calm", model=edited), MismatchError, capsys, "party0", "plan")
    (edited / "plan.json").write_text("{")
    _refused(run("embed", "calm", model=edited), ModelError, capsys, "damaged")


def test_the_exit_code_reaches_the_shell(private: Deployment, tmp_path: Path) -> None:
    words = ["embed", "--model", str(private.model), "--config", private.toml(tmp_path / "client.toml"), " "]
    done = subprocess.run(
        [sys.executable, "-m", "privinf", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.count("\n") == 1


def test_a_key_that_selects_no_row_is_the_clients_own_fault(
    private: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both parties refuse the query, and neither says anything but that."""
    honest = wire.split

    def deviating(*given: Any) -> tuple[bytes, bytes]:
        first, second = honest(*given)
        return first, second[:-100] + bytes(byte ^ 0x55 for byte in second[-100:-50]) + second[-50:]

    monkeypatch.setattr(wire, "split", deviating)
    with private.client() as client, pytest.raises(InputError, match="does not select one row"):
        client.embed(["calm"])
