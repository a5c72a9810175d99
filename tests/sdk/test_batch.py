"""A long list of texts is embedded piece by piece, resumed where it stopped, and never mixed with another."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from privinf.errors import ConfigError, ConnectError, InputError
from privinf.sdk.backend import Facts
from privinf.sdk.batch import PIECE, embed_file
from privinf.sdk.options import Reading

TEXTS = [f"text {i}" for i in range(2 * PIECE + 7)]
FACTS = Facts("private", "embed", "model", "plan")


@dataclass
class Fake:
    """Embeds a text as its length and its number; fails after some pieces."""

    facts: Facts = FACTS
    pieces: int = 99
    sessions_left: int | None = None
    asked: list[str] = field(default_factory=list)

    def check(self, texts: Sequence[str], **options: Any) -> None:
        for place, text in enumerate(texts):
            if not text:
                raise InputError(f"text {place} is empty")

    def embed(self, texts: Sequence[str], **options: Any) -> SimpleNamespace:
        if not self.pieces:
            raise ConnectError("party1 cannot be reached")
        self.pieces -= 1
        self.asked += texts
        rows = [[len(text), int(text.split()[1])] for text in texts]
        return SimpleNamespace(vectors=np.array(rows, dtype=np.float32))


def _interrupted(out: Path) -> None:
    """Two pieces are done when the connection breaks."""
    with pytest.raises(ConnectError):
        embed_file(Fake(pieces=2), TEXTS, out)


def test_all_texts_in_their_order(tmp_path: Path) -> None:
    client, told = Fake(), list[int]()
    report = embed_file(client, TEXTS, tmp_path / "out.npy", progress=told.append)
    vectors = np.load(tmp_path / "out.npy")
    assert vectors[:, 1].tolist() == list(range(len(TEXTS)))
    assert (report["texts"], report["done"], report["resumed"]) == (len(TEXTS), len(TEXTS), 0)
    assert told == [PIECE, PIECE, 7]
    assert client.asked == TEXTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "out.npy.done"]


def test_an_interrupted_run_resumes_with_what_is_left(tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    _interrupted(out)
    assert not out.exists()
    client = Fake()
    report = embed_file(client, TEXTS, out)
    assert client.asked == TEXTS[2 * PIECE :]
    assert (report["done"], report["resumed"]) == (7, 2 * PIECE)
    assert np.load(out)[:, 1].tolist() == list(range(len(TEXTS)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "out.npy.done"]


def test_a_piece_that_was_cut_short_is_asked_again(tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    _interrupted(out)
    second = out.with_name("out.npy.parts") / f"{PIECE:09d}.npy"
    second.rename(second.with_name(second.name + ".partial"))
    client = Fake()
    embed_file(client, TEXTS, out)
    assert client.asked == TEXTS[PIECE:]
    assert np.load(out)[:, 1].tolist() == list(range(len(TEXTS)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "out.npy.done"]


@pytest.mark.parametrize(
    ("client", "texts", "truncate"),
    [
        (Fake(), [*TEXTS[:-1], "other 1"], False),
        (Fake(), TEXTS[:-1], False),
        (Fake(), TEXTS, True),
        (Fake(Facts("private", "embed", "model of another sharing", "plan")), TEXTS, False),
        (Fake(Facts("private", "embed", "model", "another plan")), TEXTS, False),
    ],
)
def test_pieces_of_anything_else_are_refused(
    tmp_path: Path, client: Fake, texts: list[str], truncate: bool
) -> None:
    out = tmp_path / "out.npy"
    _interrupted(out)
    with pytest.raises(ConfigError, match=r"out\.npy\.parts holds pieces of other texts"):
        embed_file(client, texts, out, Reading(truncate=truncate))
    assert client.asked == []
    assert embed_file(Fake(), TEXTS, out)["resumed"] == 2 * PIECE


def test_a_directory_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "out.npy.parts" / "000000000.npy"
    theirs.parent.mkdir()
    theirs.write_text("kept")
    with pytest.raises(ConfigError, match="choose another --out"):
        embed_file(Fake(), TEXTS, tmp_path / "out.npy")
    assert theirs.read_text() == "kept"


def test_a_bad_text_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    client = Fake()
    with pytest.raises(InputError, match=f"text {PIECE + 3} is empty"):
        embed_file(client, [*TEXTS[: PIECE + 3], "", "text 1"], tmp_path / "out.npy")
    assert client.asked == []
    assert not list(tmp_path.iterdir())


def _again(out: Path, client: Fake | None = None, texts: list[str] = TEXTS, **options: Any) -> list[str]:
    """What is asked by a run after a whole one."""
    client = client or Fake()
    embed_file(client, texts, out, **options)
    return client.asked


def test_what_is_finished_is_not_asked_again(tmp_path: Path) -> None:
    out, told = tmp_path / "out.npy", list[int]()
    embed_file(Fake(), TEXTS, out)
    before = out.read_bytes()
    report = embed_file(Fake(pieces=0), TEXTS, out, progress=told.append)  # it would fail to ask
    assert (report["texts"], report["done"], report["resumed"]) == (len(TEXTS), 0, len(TEXTS))
    assert told == [len(TEXTS)]
    assert out.read_bytes() == before
    assert _again(out, force=True) == TEXTS


@pytest.mark.parametrize("changed", ["texts", "model", "plan", "options", "file", "gone", "note"])
def test_a_finished_file_of_anything_else_is_written_anew(tmp_path: Path, changed: str) -> None:
    out = tmp_path / "out.npy"
    embed_file(Fake(), TEXTS, out)
    if changed == "file":
        np.save(out, np.zeros((3, 2), dtype=np.float32))
    elif changed == "gone":
        out.unlink()
    elif changed == "note":
        (tmp_path / "out.npy.done").write_text("not JSON")
    texts = [*TEXTS[:-1], "other 1"] if changed == "texts" else TEXTS
    facts = Facts("private", "embed", "another" if changed == "model" else "model", "plan")
    facts = Facts("private", "embed", "model", "another") if changed == "plan" else facts
    reading = Reading(truncate=changed == "options")
    assert _again(out, Fake(facts), texts, reading=reading) == texts
    assert _again(out, Fake(facts), texts, reading=reading) == []


def test_an_interrupted_second_run_resumes_and_is_not_taken_for_finished(tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    embed_file(Fake(), TEXTS, out)
    with pytest.raises(ConnectError):
        embed_file(Fake(pieces=2), TEXTS, out, force=True)
    assert _again(out) == TEXTS[2 * PIECE :]
    assert _again(out) == []


def test_a_run_that_was_ended_before_it_cleared_away_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.npy"
    with monkeypatch.context() as patched:
        patched.setattr("privinf.sdk.batch._clear", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            embed_file(Fake(), TEXTS, out)
    assert (tmp_path / "out.npy.parts").exists()
    assert _again(out) == []
    assert not (tmp_path / "out.npy.parts").exists()


def _interrupt(pieces: Path) -> None:
    raise KeyboardInterrupt


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        embed_file(Fake(), TEXTS, tmp_path / "nowhere" / "out.npy")


def test_force_asks_all_again_though_a_run_ended_before_it_had_cleared_its_pieces(tmp_path: Path) -> None:
    out, kept = tmp_path / "out.npy", tmp_path / "kept"
    _interrupted(out)
    shutil.copytree(out.with_name("out.npy.parts"), kept)
    embed_file(Fake(), TEXTS, out)
    kept.rename(out.with_name("out.npy.parts"))
    client = Fake()
    assert embed_file(client, TEXTS, out, force=True)["done"] == len(TEXTS)
    assert client.asked == TEXTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "out.npy.done"]
