"""Embeds a long list of texts into a .npy file, piece by piece; an interrupted run resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from privinf.errors import ConfigError, FileError
from privinf.sdk.answers import F32
from privinf.sdk.call import Progress
from privinf.sdk.client import Client
from privinf.sdk.options import Reading

PIECE = 64  # texts between two saves
OWNER = "texts.sha256"  # of pieces: the question that they answer
Report = dict[str, str | int]


def embed_file(
    client: Client,
    texts: Sequence[str],
    out: Path,
    reading: Reading | None = None,
    *,
    timeout: float | None = None,
    progress: Progress = lambda done: None,
    force: bool = False,
) -> Report:
    """Write (texts, width) float32 to `out`; pieces done lie beside it until all are, then a note of what was asked.

    Where that note says that `out` answers this very question, nothing is asked, unless by `force`. Pieces of another
    list of texts, or of another model, are refused rather than mixed in, and so is a list with a text that cannot be
    asked: before the first piece, and by its place in the whole list.
    """
    options = vars(reading or Reading())
    if not force and (known := finished(client, texts, out, reading)) is not None:
        progress(len(texts))
        return known
    client.check(texts, **options)
    pieces, asked = _pieces(out), _fingerprint(client, texts, options)
    if force and _answers(out, asked):
        _sweep(pieces, asked)  # of the run that ended: all is asked anew
    _claim(pieces, asked)
    _note(out).unlink(missing_ok=True)
    done = resumed = 0
    size = PIECE if client.sessions_left is None else max(len(texts), PIECE)  # a piece would use one up
    for start in range(0, max(len(texts), 1), size):
        part = pieces / f"{start:09d}.npy"
        chosen = texts[start : start + size]
        if part.exists():
            resumed += len(chosen)
        else:
            _save(part, client.embed(chosen, timeout=timeout, **options).vectors)
            done += len(chosen)
        progress(len(chosen))
    _save(out, np.concatenate([np.load(part) for part in sorted(pieces.glob("*.npy"))]))
    _note(out).write_text(json.dumps({"asked": asked, "written": _digest(out)}), "utf-8")
    _clear(pieces)
    return {"out": str(out), "texts": len(texts), "done": done, "resumed": resumed}


def finished(
    client: Client, texts: Sequence[str], out: Path, reading: Reading | None = None
) -> Report | None:
    """The report of an earlier run whose answers to this question `out` holds unchanged; None where there is none."""
    asked = _fingerprint(client, texts, vars(reading or Reading()))
    if not _answers(out, asked):
        return None
    _sweep(_pieces(out), asked)
    return {"out": str(out), "texts": len(texts), "done": 0, "resumed": len(texts)}


def _pieces(out: Path) -> Path:
    return out.with_name(out.name + ".parts")


def _note(out: Path) -> Path:
    return out.with_name(out.name + ".done")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _answers(out: Path, asked: str) -> bool:
    """Whether the note beside `out` says that it answers this question, and it is what was written then."""
    try:
        said = json.loads(_note(out).read_text("utf-8"))
        return bool(said == {"asked": asked, "written": _digest(out)})
    except (FileNotFoundError, ValueError):
        return False


def _sweep(pieces: Path, asked: str) -> None:
    """Clear the pieces of a question that is answered: its run may have been ended before it had."""
    if pieces.exists() and _claimed(pieces / OWNER, asked):
        _clear(pieces)


def _clear(pieces: Path) -> None:
    for file in pieces.iterdir():
        file.unlink()
    pieces.rmdir()


def _fingerprint(client: Client, texts: Sequence[str], options: Mapping[str, object]) -> str:
    named = {name: value for name, value in sorted(options.items()) if value}
    content = json.dumps([list(texts), named, client.facts.model_id, client.facts.plan_hash])
    return hashlib.sha256(content.encode()).hexdigest()


def _claim(pieces: Path, fingerprint: str) -> None:
    owner = pieces / OWNER
    if pieces.exists() and not _claimed(owner, fingerprint):
        raise ConfigError(
            f"{pieces} holds pieces of other texts or of another model: remove it or choose another --out"
        )
    try:
        pieces.mkdir(exist_ok=True)
        owner.write_text(fingerprint)
    except OSError as error:
        raise FileError.unwritten(pieces, error) from error


def _claimed(owner: Path, fingerprint: str) -> bool:
    """Whether these texts made the directory; what somebody else put there is never touched."""
    if not owner.exists():
        return not any(owner.parent.iterdir())
    return owner.read_text() == fingerprint


def _save(path: Path, array: F32) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
