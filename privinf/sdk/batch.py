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


def embed_file(
    client: Client,
    texts: Sequence[str],
    out: Path,
    reading: Reading | None = None,
    *,
    timeout: float | None = None,
    progress: Progress = lambda done: None,
) -> dict[str, str | int]:
    """Write (texts, width) float32 to `out`; pieces done lie beside it until all are.

    Pieces of another list of texts, or of another model, are refused rather than mixed in, and so is a list
    with a text that cannot be asked: before the first piece, and by its place in the whole list.
    """
    options = vars(reading or Reading())
    client.check(texts, **options)
    pieces = out.with_name(out.name + ".parts")
    _claim(pieces, _fingerprint(client, texts, options))
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
    for file in pieces.iterdir():
        file.unlink()
    pieces.rmdir()
    return {"out": str(out), "texts": len(texts), "done": done, "resumed": resumed}


def _fingerprint(client: Client, texts: Sequence[str], options: Mapping[str, object]) -> str:
    named = {name: value for name, value in sorted(options.items()) if value}
    content = json.dumps([list(texts), named, client.facts.model_id, client.facts.plan_hash])
    return hashlib.sha256(content.encode()).hexdigest()


def _claim(pieces: Path, fingerprint: str) -> None:
    owner = pieces / "texts.sha256"
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
