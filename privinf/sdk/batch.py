"""Embeds a long list of texts into a .npy file, piece by piece; an interrupted run resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from privinf.errors import ConfigError

PIECE = 64  # texts between two saves


class Embedder(Protocol):
    """The part of `Client` that is needed."""

    @property
    def identity(self) -> Any: ...
    def check(self, texts: Sequence[str], **options: Any) -> None: ...
    def embed(self, texts: Sequence[str], **options: Any) -> Any: ...


def embed_file(
    client: Embedder,
    texts: Sequence[str],
    out: Path,
    *,
    progress: Callable[[int], None] = lambda done: None,
    **options: Any,
) -> dict[str, Any]:
    """Write (texts, width) float32 to `out`; pieces done lie beside it until all are. Options are those of `embed`.

    Pieces of another list of texts, or of another model, are refused rather than mixed in, and so is a list
    with a text that cannot be asked: before the first piece, and by its place in the whole list.
    """
    client.check(texts, **options)
    pieces = out.with_name(out.name + ".parts")
    _claim(pieces, _fingerprint(client, texts, options))
    done = resumed = 0
    for start in range(0, max(len(texts), 1), PIECE):
        part = pieces / f"{start:09d}.npy"
        chosen = texts[start : start + PIECE]
        if part.exists():
            resumed += len(chosen)
        else:
            _save(part, client.embed(chosen, **options).vectors)
            done += len(chosen)
        progress(len(chosen))
    _save(out, np.concatenate([np.load(part) for part in sorted(pieces.glob("*.npy"))]))
    for file in pieces.iterdir():
        file.unlink()
    pieces.rmdir()
    return {"out": str(out), "texts": len(texts), "done": done, "resumed": resumed}


def _fingerprint(client: Embedder, texts: Sequence[str], options: Mapping[str, Any]) -> str:
    named = {name: value for name, value in sorted(options.items()) if value}
    content = json.dumps([list(texts), named, client.identity.model_id, client.identity.plan_hash])
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
        raise ConfigError(f"{pieces} cannot be written: {error.strerror}") from error


def _claimed(owner: Path, fingerprint: str) -> bool:
    """Whether these texts made the directory; what somebody else put there is never touched."""
    if not owner.exists():
        return not any(owner.parent.iterdir())
    return owner.read_text() == fingerprint


def _save(path: Path, array: Any) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
