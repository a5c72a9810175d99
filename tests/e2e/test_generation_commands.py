"""Commands for decoders: share, plan, generate and chat, and how they end."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
import toy
from deployment import DEADLINE, Deployment, in_this_process

from privinf.cli import main
from privinf.models.programs.passes import count
from privinf.models.sharing import bundle
from privinf.protocols.contract import SessionShape
from tests.support.said import error_line

Run = Callable[..., int]
PROMPT = tiny.TEXTS[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a Llama for conversations, served."""
    folder = tmp_path_factory.mktemp("served")
    source = tiny.checkpoint(folder / "tiny", "llama", chat=True, endless=True, layers=1)
    shared = tiny.share(source, folder / "shared", system="be calm. ")
    with in_this_process(source, shared, folder) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def clear(served: Deployment) -> tiny.Clear:
    return tiny.Clear(served.source, served.shared)


@pytest.fixture
def run(served: Deployment, tmp_path: Path) -> Run:
    """Return `privinf COMMAND` with the client's options."""
    config = served.toml(tmp_path / "client.toml")
    return lambda command, *words: main([command, "--model", str(served.model), "--config", config, *words])


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_text("\n".join(tiny.TEXTS))
    return str(path)


def test_share(served: Deployment, lines: str, tmp_path: Path, capsys: Capture) -> None:
    words = ["share", str(served.source), "--calibration", lines, "--max-tokens", "48", "--json"]
    options = ["--embeddings", "public", "--prefix", "so: "]
    assert main([*words, "--out", str(tmp_path / "one"), *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"weights": "private", "embeddings": "public", "prefix": "so: ", "chat": False}.items() <= (
        document.items()
    )
    assert (document["max_tokens"], document["prefix_tokens"], document["calibration_texts"]) == (48, 5, 4)
    assert main([*words, "--out", str(tmp_path / "two"), "--system", "be calm."]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["prefix"], document["chat"], document["embeddings"]) == (
        "be calm.<user>",
        True,
        "private",
    )


def test_share_refuses(served: Deployment, lines: str, tmp_path: Path, capsys: Capture) -> None:
    encoder = toy.checkpoint(tmp_path / "toy")
    out = str(tmp_path / "out")
    words = ["share", "--calibration", lines, "--out", out]
    for option in ("--embeddings", "--prefix", "--system", "--max-tokens"):
        line = error_line(main([*words, str(encoder), option, "7"]), 78, capsys)
        assert f"{option}: this is for decoders, and this model is an encoder" in line
    words.append(str(served.source))
    both = ["--prefix", "so", "--system", "be calm."]
    assert "exclude each other" in error_line(main([*words, *both]), 78, capsys)
    assert "--embeddings is private or public" in error_line(main([*words, "--embeddings", "x"]), 78, capsys)
    options = ["--weights", "public", "--embeddings", "private"]
    assert "embeddings are weights" in error_line(main([*words, *options]), 78, capsys)
    assert "leaves no room" in error_line(main([*words, "--max-tokens", "2"]), 78, capsys)
    assert "takes 1 to 160" in error_line(main([*words, "--max-tokens", "161"]), 78, capsys)
    assert not Path(out).exists()
    plain = tiny.checkpoint(tmp_path / "plain", "gpt2")
    words = ["share", str(plain), "--calibration", lines, "--out", out, "--system", "be calm."]
    assert "no chat template" in error_line(main(words), 78, capsys)
    there = ["share", str(plain), "--out", str(served.shared)]
    assert "is not empty" in error_line(main(there), 78, capsys)


@pytest.mark.parametrize("drafts", [0, 3])
def test_plan(served: Deployment, capsys: Capture, drafts: int) -> None:
    words = ["plan", str(served.shared), "--prompt", "20", "--drafts", str(drafts), "--generated"]
    facts = bundle.read(served.model)
    shape = SessionShape("generate", 24, 1 + drafts)
    declared = [ctx.tally.total() for ctx in count(facts.layout, shape, 3)]
    assert main([*words, str(1 + 1 * shape.rows), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rounds"] == declared[2].rounds
    assert document["online_bytes"] == declared[2].online
    assert document["offline_bytes_party0"] == declared[2].prep0
    assert document["offline_bytes_party1"] == declared[2].prep1
    assert document["prompt"]["online_bytes"] == declared[0].online
    assert sum(layer["online_bytes"] for layer in document["layers"]) == document["online_bytes"]
    assert document["slots"] == len(facts.layout.plan.prefix) + 24 + shape.rows
    assert main([*words, "5"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("layer0", "the prompt, 24 rows", "on the wire, wan"))


def test_plan_refuses(served: Deployment, tmp_path: Path, capsys: Capture) -> None:
    words = ["plan", str(served.shared)]
    assert "--tokens: this is for encoders" in error_line(main([*words, "--tokens", "8"]), 78, capsys)
    assert "the session is full" in error_line(main([*words, "--generated", "150"]), 65, capsys)
    assert "a prompt of 192 rows" in error_line(main([*words, "--prompt", "150"]), 65, capsys)
    assert "are 1 or more" in error_line(main([*words, "--generated", "0"]), 78, capsys)
    encoder = toy.share(toy.checkpoint(tmp_path / "toy"), tmp_path / "shared")
    line = error_line(main(["plan", str(encoder), "--drafts", "1", "--secure-argmax"]), 78, capsys)
    assert "--drafts, --secure-argmax: this is for decoders" in line


@pytest.mark.slow
def test_generate(run: Run, clear: tiny.Clear, capsys: Capture) -> None:
    assert run("generate", PROMPT, "--max-new-tokens", "5") == 0
    output = capsys.readouterr()
    assert "5 tokens (length)" in output.err
    assert run("generate", PROMPT, "--max-new-tokens", "5", "--json", "--draft", "lookup") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"text", "tokens", "finish_reason", "stats"}
    assert clear.agrees(PROMPT, document["tokens"])
    assert (document["finish_reason"], document["stats"]["tokens"] >= 5) == ("length", True)
    assert output.out == document["text"] + "\n"


@pytest.mark.slow
def test_every_option_of_the_sdk(run: Run, capsys: Capture) -> None:
    words = ["--max-new-tokens", "2", "--temperature", "0.7", "--top-k", "5", "--top-p", "0.9", "--seed", "3"]
    words += ["--repetition-penalty", "1.2", "--stop", "zzz", "--stop", "yyy", "--draft", "lookup"]
    words += ["--drafts", "2", "--hide-accepted", "--raw", "--deadline", "50"]
    assert run("generate", PROMPT, *words, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["tokens"]) == 2
    assert run("generate", PROMPT, "--max-new-tokens", "1", "--secure-argmax") == 0


@pytest.mark.slow
def test_a_prompt_from_a_file(
    run: Run, clear: tiny.Clear, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompt.txt").write_text(PROMPT)
    words = ["--raw", "--max-new-tokens", "2", "--json"]
    assert run("generate", "--file", str(tmp_path / "prompt.txt"), *words) == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    assert clear.agrees(clear.side.prompt(PROMPT, raw=True), tokens)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PROMPT.encode())))
    assert run("generate", "--file", "-", *words) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == tokens


def test_generate_refuses(run: Run, tmp_path: Path, capsys: Capture) -> None:
    assert "no prompt was given" in error_line(run("generate"), 65, capsys)
    assert "leave one of them out" in error_line(run("generate", "a", "--file", "b"), 78, capsys)
    assert "cannot be read" in error_line(run("generate", "--file", str(tmp_path / "no.txt")), 74, capsys)
    (tmp_path / "bad.txt").write_bytes(b"calm \xff")
    assert "byte 5 is not UTF-8" in error_line(
        run("generate", "--file", str(tmp_path / "bad.txt")), 65, capsys
    )
    assert "the prompt is empty" in error_line(run("generate", ""), 65, capsys)
    assert "max_new_tokens" in error_line(run("generate", "a", "--max-new-tokens", "0"), 78, capsys)
    assert "this model is for generate" in error_line(run("embed", "a"), 65, capsys)


@pytest.mark.slow
def test_chat(run: Run, clear: tiny.Clear, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--max-new-tokens", "3"]
    monkeypatch.setattr("sys.stdin", io.StringIO("calm?\n\nwhy\n"))
    assert run("chat", *words, "--system", "be calm. ", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)["turns"]
    talk = [{"role": "system", "content": "be calm. "}, {"role": "user", "content": "calm?"}]
    assert clear.agrees(clear.side.conversation(talk), first["tokens"])
    talk += [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": "why"}]
    assert clear.agrees(clear.side.conversation(talk), second["tokens"])
    monkeypatch.setattr("sys.stdin", io.StringIO("calm?"))
    assert run("chat", *words) == 0
    output = capsys.readouterr()
    assert output.out == first["text"] + "\n"
    assert "3 tokens (length)" in output.err
    monkeypatch.setattr("sys.stdin", io.StringIO("calm?"))
    assert "system message" in error_line(run("chat", "--system", "be wild"), 78, capsys)


@pytest.mark.processes
def test_an_interrupt_frees_both_parties(served: Deployment, tmp_path: Path) -> None:
    config = served.toml(tmp_path / "client.toml")
    words = ["generate", "--model", str(served.model), "--config", config, PROMPT, "--max-new-tokens", "110"]
    with (
        served.client() as client,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "privinf", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
        _until_idle(client)
    assert (process.returncode, said) == (130, b"privinf: interrupted\n")


def _until_idle(client: Any) -> None:
    until = time.monotonic() + DEADLINE
    while any(status.sessions for status in client.status()):
        assert time.monotonic() < until
        time.sleep(0.01)
