"""The commands of the equivariant mode that serve and ask."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from serving import converted, greedy, plain_of, serving

from privinf.cli import main
from privinf.cli.app import app
from privinf.equivariant.covering.convert import Converted
from privinf.errors import ConfigError, InputError


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command prints on stdout."""
    capsys.readouterr()
    typer.main.get_command(app).main(args=[str(word) for word in words], standalone_mode=False)
    return capsys.readouterr().out


@pytest.fixture
def reached(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Converted, list[object]]]:
    """A model of the kind asked for, and the options that reach its server."""
    made = converted(tmp_path, request.param, "cover")
    with serving(made.server) as server:
        at = f"127.0.0.1:{server.port}"
        yield made, ["--mode", "equivariant", "--model", made.client, "--server", at, "--insecure-no-tls"]


Reached = tuple[Converted, list[Any]]


@pytest.mark.parametrize("reached", ["bert"], indirect=True)
def test_embed(reached: Reached, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, options), out = reached, tmp_path / "vectors.npy"
    document = json.loads(run(capsys, "embed", "calm", "the sea", *options, "--json"))
    written = json.loads(run(capsys, "embed", "calm", "the sea", *options, "--out", out, "--json"))
    assert (written["texts"], written["done"], written["resumed"]) == (2, 2, 0)
    assert np.allclose(document["embeddings"], np.load(out))
    assert np.load(out).shape == (2, 32)
    assert document["stats"]["query_bytes"] > 0
    assert "the sea" in run(capsys, "embed", "calm", "the sea", *options)
    with pytest.raises(InputError, match="this model is for embed"):
        run(capsys, "classify", "calm", *options)


@pytest.mark.parametrize("reached", ["bert-classifier"], indirect=True)
def test_classify(reached: Reached, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, options), file = reached, tmp_path / "texts.txt"
    file.write_text("calm\nthe sea\n")
    document = json.loads(run(capsys, "classify", "--file", file, *options, "--json"))
    lines = run(capsys, "classify", "--file", file, *options).splitlines()
    rows = zip(document["labels"], document["scores"], ("calm", "the sea"), strict=True)
    assert lines == [f"{label}\t{max(scores):.4f}\t{text}" for label, scores, text in rows]
    with pytest.raises(InputError, match="leave one of them out"):
        run(capsys, "classify", "calm", "--images", file, *options)


@pytest.mark.parametrize("reached", ["vit"], indirect=True)
def test_classify_images(reached: Reached, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, options), file = reached, tmp_path / "images.npy"
    np.save(file, np.ones((2, 3, 8, 12), dtype=np.float32))
    lines = run(capsys, "classify", "--images", file, *options).splitlines()
    assert [line.split("\t")[2] for line in lines] == ["image 0", "image 1"]
    file.write_bytes(b"no array")
    with pytest.raises(InputError, match=r"is no \.npy file"):
        run(capsys, "classify", "--images", file, *options)


@pytest.mark.parametrize("reached", ["llama"], indirect=True)
def test_generate(reached: Reached, capsys: pytest.CaptureFixture[str]) -> None:
    made, options = reached
    words = ["generate", "the sea", *options, "--max-new-tokens", "6"]
    document = json.loads(run(capsys, *words, "--json"))
    assert run(capsys, *words) == document["text"] + "\n"
    want = greedy(plain_of(made), [int(i) for i in _ids(made, "the sea")], 6)
    assert document["tokens"] == want[: len(document["tokens"])]
    assert document["stats"]["result_bytes"] > 0


@pytest.mark.parametrize("reached", ["llama"], indirect=True)
def test_what_only_the_private_mode_does_is_refused(
    reached: Reached, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--secure-argmax"], ["--draft", "lookup"], ["--hide-accepted"]):
        with pytest.raises(InputError, match="only the private mode supports that"):
            run(capsys, "generate", "the sea", *reached[1], *option)


def _ids(made: Converted, text: str) -> list[int]:
    from privinf.models.text.prompts import DecoderTokenizer

    return DecoderTokenizer(made.client, 10**6).encode(text)


def test_keygen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys"
    assert run(
        capsys, "keygen", "--mode", "equivariant", "--out", keys, "--host", "server.example"
    ).strip() == str(keys)
    assert {path.stem for path in keys.iterdir()} == {"ca", "equivariant", "client"}
    with pytest.raises(ConfigError, match="already holds"):
        run(capsys, "keygen", "--mode", "equivariant", "--out", keys)


def test_serving_needs_certificates(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path)]) == ConfigError.exit_code
    assert "certificates are missing" in json.loads(capfd.readouterr().err.splitlines()[-1])["error"]


@pytest.mark.processes
def test_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, keys = converted(tmp_path, "llama", "cover"), tmp_path / "keys"
    run(capsys, "keygen", "--mode", "equivariant", "--out", keys)
    tls = {role: _tls(keys, role) for role in ("equivariant", "client")}
    words = [
        sys.executable,
        "-m",
        "privinf",
        "serve",
        str(made.server),
        "--threads",
        "1",
        *tls["equivariant"],
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            at = f"127.0.0.1:{ready['port']}"
            options = ["--mode", "equivariant", "--model", made.client, "--server", at, *tls["client"]]
            assert run(capsys, "generate", "the sea", *options, "--max-new-tokens", "3")
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=30)
    assert server.returncode == 0
    assert ready["role"] == "equivariant"
    assert "obfuscation, not encryption" in said


def _tls(keys: Path, role: str) -> list[str]:
    return [
        "--ca",
        str(keys / "ca.pem"),
        "--cert",
        str(keys / f"{role}.pem"),
        "--key",
        str(keys / f"{role}.key"),
    ]
