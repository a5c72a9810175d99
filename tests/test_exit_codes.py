"""What users get wrong: its exit code, and one line that names the option, file or address and says what to do."""

from __future__ import annotations

import errno
import inspect
import os
import re
from pathlib import Path

import pytest
import toy
from said import error_line

from privinf import cli, errors
from privinf.cli import main
from privinf.config import PREFIX
from privinf.errors import PrivinfError
from privinf.keys import keygen

PAGE = Path(__file__).parent.parent / "docs" / "exit_codes.md"
ASKED = ["embed", "--model", "model"]
AT = ["--parties", "127.0.0.1:1,127.0.0.1:2"]
TLS = ["--ca", "keys/ca.pem", "--cert", "keys/client.pem", "--key", "keys/client.key"]
REACHED = [*ASKED, *AT, *TLS]
FILES = {
    "bytes.txt": b"\xff\n",
    "empty.txt": b"",
    "ok.txt": b"calm\n",
    "bad.toml": b"parties = [",
    "bytes.toml": b"\xff",
    "one.toml": b'parties = ["127.0.0.1:1"]\n',
    "kind.toml": b'deadline = "soon"\n',
    "bad.npz": b"PK",
    "bad.pem": b"not a certificate",
}

# Words, the code, and what the one line says.
CASES: list[tuple[list[str], int, str]] = [
    # Nothing to ask, or nobody.
    (REACHED, 65, "no text was given: write it as an argument, or name a file with --file"),
    (["generate", *REACHED[1:]], 65, "no prompt was given: write it as an argument"),
    ([*REACHED, "a", "--file", "ok.txt"], 78, "--file: a text was given as an argument too"),
    (["generate", *REACHED[1:], "a", "--lines"], 78, "--lines: this is for prompts of a --file"),
    ([*ASKED, "a"], 78, "lacks parties: give --parties, PRIVINF_PARTIES"),
    ([*ASKED, *AT, "a"], 78, "certificates are missing: give --ca, --cert and --key, PRIVINF_CA"),
    ([*ASKED, *AT, *TLS[:4], "a"], 78, "lacks key: give --key, PRIVINF_KEY"),
    ([*ASKED, "--parties", "127.0.0.1:1", "a"], 78, "parties (--parties): two addresses are needed"),
    ([*ASKED, "--parties", "127.0.0.1:1 127.0.0.1:2", "a"], 78, "separate two addresses with a comma"),
    ([*ASKED, "--parties", "127.0.0.1", "a"], 78, "parties (--parties): '127.0.0.1' has no port"),
    ([*ASKED, "--config", "one.toml", "a"], 78, "parties (--parties): two addresses are needed"),
    (
        [*ASKED, "--server", "127.0.0.1:1", "a"],
        78,
        "(--mode equivariant); this mode needs parties (--parties)",
    ),
    ([*REACHED, "--insecure-no-tls", "a"], 78, "leave out --insecure-no-tls, or the certificates"),
    # A model for something else.
    (
        ["generate", *REACHED[1:], "a"],
        65,
        "for embed, not for generate: use embed, or another model (--model)",
    ),
    (["classify", *REACHED[1:], "a"], 65, "this model is for embed, not for classify: use embed"),
    (["chat", *REACHED[1:]], 65, "this model is for embed, not for chat: use embed"),
    (["embed", *AT, *TLS, "--model", "model/nowhere", "a"], 78, "model/nowhere is not a shared model"),
    (["embed", *AT, *TLS, "--model", "ok.txt", "a"], 78, "ok.txt is not a shared model"),
    # Files that cannot be read or written: 74, whatever they are for.
    ([*REACHED, "--file", "no.txt"], 74, "no.txt cannot be read: No such file"),
    ([*REACHED, "--file", "."], 74, ". cannot be read: Is a directory"),
    ([*ASKED, "--config", "no.toml", "a"], 74, "no.toml cannot be read"),
    ([*ASKED, *AT, "--ca", "no.pem", *TLS[2:], "a"], 74, "no.pem cannot be read"),
    (["share", "source", "--out", "out", "--calibration", "no.txt"], 74, "no.txt cannot be read"),
    (["check", "shared", "--text", "no.txt"], 74, "no.txt cannot be read"),
    (["convert", "no.gguf", "--out", "out"], 74, "no.gguf cannot be read"),
    (["classify", *REACHED[1:], "--mode", "equivariant", "--images", "no.npy"], 74, "no.npy cannot be read"),
    (["keygen", "--out", "ok.txt/keys"], 74, "ok.txt"),
    # What a file holds: 78 for a configuration, a certificate and a model, else 65.
    ([*ASKED, "--config", "bad.toml", "a"], 78, "bad.toml is not TOML"),
    ([*ASKED, "--config", "bytes.toml", "a"], 78, "bytes.toml is not TOML: byte 0 is not UTF-8"),
    ([*ASKED, "--config", "kind.toml", "a"], 78, "kind.toml: deadline: a number is needed, not other text"),
    ([*ASKED, *AT, "--ca", "bad.pem", *TLS[2:], "a"], 78, "bad.pem is not a PEM file"),
    (["convert", "ok.txt", "--out", "out"], 78, "ok.txt"),
    (["share", "shared", "--out", "out"], 78, "config.json is missing"),
    ([*REACHED, "--file", "bytes.txt"], 65, "bytes.txt, line 1, byte 1 is not UTF-8"),
    ([*REACHED, "--file", "empty.txt"], 65, "empty.txt is empty"),
    (["share", "source", "--out", "out", "--calibration", "bytes.txt"], 65, "bytes.txt, line 1"),
    (["classify", *REACHED[1:], "--mode", "equivariant", "--images", "empty.txt"], 65, "is no .npy file"),
    # Values of options that are of the right kind and cannot be used.
    ([*REACHED, "--deadline", "-1", "a"], 78, "deadline is a number of seconds above 0"),
    ([*REACHED, "--prompt-name", "x", "a"], 78, "no prompt 'x'"),
    (["generate", *REACHED[1:], "a", "--temperature", "-1"], 78, "temperature must be"),
    (["share", "source", "--out", "out", "--weights", "x"], 78, "--weights is private or public"),
    (["share", "source", "--out", "out", "--protocol", "x"], 78, "protocol 'x' is unknown"),
    (["share", "source", "--out", "shared"], 78, "shared exists and is not empty"),
    (["cover", "source", "--out", "out", "--level", "x"], 78, "'x' is not a level; choose one of"),
    (["keygen", "--out", "out", "--days", "0"], 78, "days must be 1 to 36500"),
    (["fetch", "x"], 78, "no package 'x'; choose one of"),
    # Nobody there.
    ([*REACHED, "a"], 69, "party0: cannot be reached at 127.0.0.1:1: nobody listens there"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, what it was shared to, certificates, and files that are wrong."""
    folder = tmp_path_factory.mktemp("wrong")
    toy.share(toy.checkpoint(folder / "source"), folder / "shared")
    (folder / "model").symlink_to(folder / "shared" / "client")
    keygen(folder / "keys")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def _alone(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}CONNECT_SECONDS", "0.2")


@pytest.mark.parametrize(("words", "code", "said"), CASES, ids=[" ".join(words) for words, _, _ in CASES])
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_has_its_code_and_says_what_to_do(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main(words)
    output = capsys.readouterr()
    assert (found, output.out) == (code, ""), output.err
    assert said in output.err.strip().splitlines()[-1]
    assert len(re.findall("^privinf: ", output.err, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["party", "--party", "x"], "'--party': 'x': a whole number is needed"),
        (["embed", "--deadline", "x"], "'--deadline': 'x': a number is needed"),
        (["demo", "--sentences", "99"], "'--sentences': '99': at most 24 is needed"),
        (["demo", "--sentences", "1"], "'--sentences': '1': at least 2 is needed"),
        (["embed", "--mode", "x"], "'--mode': 'x' is not one of 'private', 'equivariant'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_in_plain_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], "--model", "model", *words[1:]] if words[0] != "demo" else words) == 2
    output = capsys.readouterr().err
    assert said in " ".join(output.replace("│", " ").split())
    assert "Input should be" not in output


def test_a_variable_of_the_wrong_kind_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRIVINF_DEADLINE", "soon")
    assert "PRIVINF_DEADLINE: a number is needed" in error_line(main([*REACHED, "a"]), 78, capsys)


def test_the_page_lists_every_code_that_commands_give() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)}
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PrivinfError)
    ]
    given = {kind.exit_code for kind in kinds} | {cli.INTERRUPTED, cli.INTERNAL, 0, 2}
    assert listed == given


def test_a_file_that_may_not_be_read_is_one_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuses)
    path = tmp_path / "closed.txt"
    assert "closed.txt cannot be read: Permission denied" in error_line(
        main([*REACHED, "--file", str(path)]), 74, capsys
    )
