"""The command line: quick help, one JSON document on stdout, and exit codes that say what went wrong."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from deployment import Deployment, in_this_process
from typer.main import get_command

import privinf
from privinf.cli import main
from privinf.cli.app import app
from privinf.cli.output import stages
from privinf.errors import ConfigError, ConnectError
from privinf.formats.fetch import fetch
from privinf.keys import ROLES
from privinf.sdk.options import GenerationOptions, Reading
from tests.support.said import error_line, its_json

COMMANDS = (
    "fetch",
    "share",
    "plan",
    "check",
    "keygen",
    "dealer",
    "party",
    "up",
    "embed",
    "classify",
    "convert",
    "generate",
    "chat",
    "draft",
    "cover",
    "attack",
    "serve",
    "demo",
    "doctor",
    "status",
    "train",
    "search",
)
HEAVY = ("torch", "transformers", "numpy", "grpc", "tokenizers", "cryptography", "safetensors")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return an embedding model with private weights, served."""
    folder = tmp_path_factory.mktemp("served")
    source = toy.checkpoint(folder / "toy")
    with in_this_process(source, toy.share(source, folder / "shared"), folder) as deployment:
        yield deployment


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from privinf.cli import main; code = main(['--help']);"
        f"print([n for n in {HEAVY} if n in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"{command} [OPTIONS]" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{privinf.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["plan"],
        ["plan", "model", "--no-such-option"],
        ["plan", "model", "--tokens", "many"],
        ["embed", "calm"],  # no model
        ["demo", "--sentences", "1"],
        ["keygen"],
    ],
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Usage:" in output.err


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["ee", "convert", "plain", "--out", "covered"], "privinf cover"),
        (["ee", "embed", "--model", "covered/client", "calm"], "privinf embed --mode equivariant"),
        (["ee", "serve", "--help"], "privinf serve"),
        (["ee", "--help"], "`privinf --help`"),
        (["ee"], "`privinf --help`"),
    ],
)
def test_the_old_group_names_what_replaces_it(
    words: list[str], new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert (output.out, new in output.err) == ("", True)


def test_every_option_of_the_sdk_is_one_of_the_commands() -> None:
    for command, kind in (("generate", GenerationOptions), ("chat", GenerationOptions), ("embed", Reading)):
        taken = {parameter.name: parameter for parameter in get_command(app).commands[command].params}
        for item in fields(kind):
            assert taken[item.name].help == item.metadata["help"]
            assert taken[item.name].default == (None if item.default == () else item.default)


def test_the_shell_gets_the_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "privinf", "no-such-command"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")


def test_plan(served: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(served.shared), "--tokens", "16", "--batch", "2", "--json"]) == 0
    document = its_json(capsys)
    assert (document["task"], document["batch"], document["tokens"]) == ("embed", 2, 16)
    layers = document["layers"]
    assert "layer0" in {layer["name"] for layer in layers}
    assert all({"openings", "online_bytes", "offline_bytes"} < set(layer) for layer in layers)
    assert sum(layer["openings"] for layer in layers) == document["rounds"] > 0
    for name in ("online_bytes", "offline_bytes"):
        assert sum(layer[name] for layer in layers) == document[name] > 0
    assert document["offline_bytes_party0"] + document["offline_bytes_party1"] == document["offline_bytes"]
    assert set(document["wire_seconds"]) == {"loopback", "lan", "wan"}


def test_every_role_plans_the_same(served: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for role in ("client", "dealer", "party0", "party1"):
        assert main(["plan", str(served.shared / role), "--tokens", "8", "--json"]) == 0
        documents.append(its_json(capsys))
    assert all(document == documents[0] for document in documents)


def test_a_plan_for_people(served: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(served.shared), "--tokens", "16"]) == 0
    text = capsys.readouterr().out
    assert "layer0" in text
    assert "on the wire, wan" in text


def test_keygen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys"
    assert main(["keygen", "--out", str(keys), "--host", "party0.example", "--json"]) == 0
    document = its_json(capsys)
    assert set(document) == {f"{name}.{end}" for name in ("ca", *ROLES) for end in ("pem", "key")}
    assert all(Path(path).is_file() for path in document.values())
    assert stat.S_IMODE((keys / "client.key").stat().st_mode) == 0o600
    line = error_line(main(["keygen", "--out", str(keys)]), 78, capsys)
    assert "nothing was written" in line


def test_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        path = fetch("minilm")
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")
    assert main(["fetch", "minilm", "--json"]) == 0
    assert its_json(capsys) == {"name": "minilm", "path": str(path)}


def test_share(served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lines.txt").write_text("a calm sea\nthe reef is near\n")
    out = tmp_path / "shared"
    words = ["share", str(served.source), "--out", str(out), "--weights", "public"]
    words += ["--calibration", str(tmp_path / "lines.txt")]
    assert main([*words, "--json"]) == 0
    document = its_json(capsys)
    assert (document["path"], document["weights"], document["calibration_texts"]) == (str(out), "public", 2)
    assert {path.name for path in out.iterdir()} == {"client", "dealer", "party0", "party1"}
    other = ["share", str(served.source), "--out", str(tmp_path / "other"), *words[4:]]
    assert main(other) == 0
    said = capsys.readouterr().err.splitlines()[0]  # no bar where there is no terminal
    assert said == f"Wrote {tmp_path / 'other'} (calibrated on 2 texts). Give each role only its own folder."
    assert "is not empty" in error_line(main(words), 78, capsys)


def test_stages_show_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with stages() as at:
            at.begin("reading the model", 0)
            at.begin("calibrating", 3)
            at.tick(2)
        written = capsys.readouterr()
        assert written.out == ""
        assert ("calibrating" in written.err) == terminal
        assert bool(written.err) == terminal


def test_embed(served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["embed", "--model", str(served.model), "--config", served.toml(tmp_path / "client.toml")]
    assert main([*words, "--json", "calm", "whales"]) == 0
    document = its_json(capsys)
    clear = toy.clear(served.source, ["calm", "whales"])
    assert ((np.array(document["embeddings"]) * clear).sum(axis=-1) > 0.9999).all()
    assert document["stats"]["queries"] == 1
    assert document["stats"]["rounds"] > 0
    assert main([*words, "calm"]) == 0
    assert "calm" in capsys.readouterr().out


def test_embed_a_file(served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.txt").write_text("calm\nwhales\ncalm\n")
    out = tmp_path / "out.npy"
    words = ["embed", "--model", str(served.model), "--config", served.toml(tmp_path / "client.toml")]
    words += ["--file", str(tmp_path / "in.txt"), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    assert its_json(capsys) == {"out": str(out), "texts": 3, "done": 3, "resumed": 0}
    clear = toy.clear(served.source, ["calm", "whales", "calm"])
    assert ((np.load(out) * clear).sum(axis=-1) > 0.9999).all()
    elsewhere = replace(served, addresses=("127.0.0.1:1", "127.0.0.1:2")).toml(tmp_path / "nobody.toml")
    words[words.index("--config") + 1] = elsewhere  # nobody is reached for what is finished
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*words, "--force"]) == ConnectError.exit_code


def test_certificates_come_from_options_too(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", "--model", str(served.model), "--parties", ",".join(served.addresses), "--json", "calm"]
    ca, cert, key = (f"--{name}={getattr(served.tls, name)}" for name in ("ca", "cert", "key"))
    assert main([*words, ca, cert, key]) == 0
    assert len(its_json(capsys)["embeddings"]) == 1
    assert "lacks cert" in error_line(main([*words, ca, key]), 78, capsys)
    config = served.toml(tmp_path / "client.toml")
    lost = f"--ca={tmp_path / 'lost.pem'}"
    assert "lost.pem" in error_line(main([*words, "--config", config, lost]), 74, capsys)  # an option wins


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "nowhere"], "ModelError: nowhere is not a shared model"),
        (["fetch", "no-such-package"], "choose one of"),
        (["share", "nowhere", "--out", "shared"], "config.json is missing"),
        (["share", "nowhere", "--out", "shared", "--weights", "secret"], "--weights is private or public"),
        (["up", "nowhere", "--shape", "embed"], "'embed' is not a shape: write TASK:BATCH:TOKENS"),
        (["embed", "--model", "nowhere", "calm"], "lacks parties"),
        (["embed", "--model", "nowhere", "--parties", "a:1,b:1", "calm"], "certificates are missing"),
        (
            ["embed", "--model", "nowhere", "--parties", "a:1,b:1", "--insecure-no-tls", "calm"],
            "nowhere is not a shared model",
        ),
    ],
)
def test_configuration_errors(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in error_line(main(words), 78, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dealer", "--model", "nowhere"], "certificates are missing"),
        (["party", "--model", "nowhere", "--insecure-no-tls"], "lacks party, store"),
        (["serve", "nowhere", "--insecure-no-tls", "--listen", ":1"], "has no host"),
    ],
)
def test_a_servers_errors_are_lines_of_its_log(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 78
    output = capfd.readouterr()
    line = json.loads(output.err.splitlines()[-1])
    assert (line["event"], line["kind"], output.out) == ("ended", "ConfigError", "")
    assert said in line["error"]


def test_a_configuration_file_with_a_slip(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "client.toml"
    words = ["embed", "--model", str(served.model), "--config", str(config), "calm"]
    assert "cannot be read" in error_line(main(words), 74, capsys)
    config.write_text('partys = ["a:1", "b:1"]')
    assert "did you mean parties?" in error_line(main(words), 78, capsys)
    config.write_text("parties = [")
    assert "is not TOML" in error_line(main(words), 78, capsys)


def test_input_errors(served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "129 tokens: this shared model takes" in error_line(
        main(["plan", str(served.shared), "--tokens", "129"]), 65, capsys
    )
    assert "0 texts of 128 tokens" in error_line(
        main(["plan", str(served.shared), "--batch", "0"]), 65, capsys
    )
    words = ["embed", "--model", str(served.model), "--config", served.toml(tmp_path / "client.toml")]
    assert "no text was given" in error_line(main(words), 65, capsys)
    assert "empty" in error_line(main([*words, ""]), 65, capsys)


def test_a_folder_that_cannot_be_written(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    line = error_line(main(["keygen", "--out", str(tmp_path / "file" / "keys")]), 74, capsys)
    assert str(tmp_path / "file") in line


def test_an_interrupt_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str, out: Path | None) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("privinf.formats.fetch.fetch", interrupted)
    assert "interrupted" in error_line(main(["fetch", "minilm"]), 130, capsys)


def test_texts_come_from_stdin(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"calm\nthe sea\n")))
    config = served.toml(tmp_path / "client.toml")
    code = main(["embed", "--model", str(served.model), "--config", config, "--file", "-", "--json"])
    assert code == 0
    assert len(its_json(capsys)["embeddings"]) == 2


def test_the_environment_names_the_configuration(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVINF_CONFIG", str(served.toml(tmp_path / "client.toml")))
    assert main(["embed", "--model", str(served.model), "calm", "--json"]) == 0
    assert len(its_json(capsys)["embeddings"]) == 1
    with privinf.Client(served.model) as client:
        assert len(client.embed("calm")) == 1
    monkeypatch.setenv("PRIVINF_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        privinf.Client(served.model)


def test_fetch_lists_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path))
    assert main(["fetch", "--json"]) == 0
    known = {package["name"]: package for package in its_json(capsys)}
    assert {"minilm", "smollm2"} <= set(known)
    assert known["minilm"]["path"] is None
    assert main(["fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(known)
    assert all(line.count("\t") == 2 and line.endswith("not fetched") for line in lines)


@pytest.mark.parametrize("days", ["0", "-3", "40000"])
def test_days_are_some_and_not_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: str
) -> None:
    code = main(["keygen", "--out", str(tmp_path / "keys"), "--days", days])
    assert f"days must be 1 to 36500, not {days}" in error_line(code, ConfigError.exit_code, capsys)
    assert not (tmp_path / "keys").exists()


def test_a_fault_of_ours_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its frames may hold shares: they are shown to who asks for them alone."""

    def fails(*given: object, **named: object) -> None:
        raise RuntimeError("a share: 12345")

    monkeypatch.setattr("privinf.formats.fetch.packages", fails)
    assert main(["fetch"]) == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "internal error (RuntimeError)" in said
    assert "12345" not in said
    monkeypatch.setenv("PRIVINF_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="a share"):
        main(["fetch"])
