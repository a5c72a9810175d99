"""What the client computes itself at level session: embeddings before the server's layers, the head after them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from privinf.equivariant.key import F64, KeyAbout
from privinf.equivariant.wire import F32
from privinf.errors import ConfigError, IntegrityError

FILE = "local.safetensors"


class OwnPart:
    """The arrays of local.safetensors, by the names of privinf.models."""

    def __init__(self, folder: Path, about: KeyAbout, eps: float = 0.0) -> None:
        self._arrays, self._eps = _load(folder / FILE, about.own_sha256), eps
        self._head = self._arrays.get("head.weight")
        if self._head is None and about.task != "embed":
            self._head = self._arrays["embed.token"].T

    def token_rows(self, ids: Sequence[int] | npt.NDArray[Any], first: int = 0) -> F64:
        """What the first layer takes of tokens from place `first` on, (tokens, width)."""
        rows = self._wide("embed.token", np.asarray(ids, dtype=np.int64))
        if "embed.position" in self._arrays:
            rows += self._wide("embed.position", slice(first, first + len(ids)))
        if "embed.type" in self._arrays:
            rows += self._wide("embed.type", 0)
        return self._normed(rows) if "embed.norm.gain" in self._arrays else rows

    def patch_rows(self, patches: F64) -> F64:
        """What the first layer takes of patches (images, patches, values), without the row in front of them."""
        rows: F64 = patches @ self._wide("embed.patch.weight") + self._wide("embed.patch.bias")
        return rows + self._wide("embed.position", slice(1, None))

    def logits(self, answer: F32) -> F32:
        """Of last hidden rows, (rows, vocab) or (rows, labels)."""
        assert self._head is not None
        rows = answer.astype(np.float64)
        if "head.norm.gain" in self._arrays:  # the server's norm only divides
            rows = rows * self._wide("head.norm.gain") + self._biased("head.norm.bias")
        if "pooler.weight" in self._arrays:
            rows = np.tanh(rows @ self._wide("pooler.weight") + self._wide("pooler.bias"))
        logits: F32 = rows.astype(np.float32) @ self._head
        return logits + self._arrays.get("head.bias", np.float32(0))

    def _wide(self, name: str, part: Any = ()) -> F64:
        wide: F64 = self._arrays[name][part].astype(np.float64)
        return wide

    def _biased(self, name: str) -> F64 | float:
        return self._wide(name) if name in self._arrays else 0.0

    def _normed(self, rows: F64) -> F64:
        rows = rows - rows.mean(-1, keepdims=True)
        rows /= np.sqrt((rows**2).mean(-1, keepdims=True) + self._eps)
        normed: F64 = rows * self._wide("embed.norm.gain") + self._wide("embed.norm.bias")
        return normed


def _load(path: Path, sha256: str) -> dict[str, npt.NDArray[Any]]:
    """Only what was written with the key: another model's part would answer, and wrongly."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; `privinf cover` writes it") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(
            f"{path} is cut short, changed, or not of this key: copy it again, or cover the model again"
        )
    return load(data)
