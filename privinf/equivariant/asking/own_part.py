"""What the client computes itself at level session: embeddings before the server's layers, the head after them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from privinf.equivariant.about import read_written
from privinf.equivariant.key import F64, KeyAbout, write_private
from privinf.equivariant.levels import level_of
from privinf.equivariant.wire import F32
from privinf.errors import IntegrityError
from privinf.models.source.checkpoint import read_spec
from privinf.models.source.tensors import Array
from privinf.models.spec import ModelSpec

FILE = "local.safetensors"
PARTS = ("embed.", "head.", "pooler.")


class OwnPart:
    """The arrays of local.safetensors, by the names of privinf.models; sums and products with them are in float64."""

    def __init__(self, folder: Path, about: KeyAbout, eps: float = 0.0) -> None:
        self._arrays, self._eps = _load(folder / FILE, about.own_sha256), eps
        self._head = self._arrays.get("head.weight")
        if self._head is None and about.task != "embed":
            self._head = self._arrays["embed.token"].T

    def token_rows(self, ids: Sequence[int] | npt.NDArray[Any], first: int = 0) -> F64:
        """What the first layer takes of tokens from place `first` on, (tokens, width)."""
        rows = self._arrays["embed.token"][np.asarray(ids, dtype=np.int64)].astype(np.float64)
        if "embed.position" in self._arrays:
            rows += self._arrays["embed.position"][first : first + len(ids)]
        if "embed.type" in self._arrays:
            rows += self._arrays["embed.type"][0]
        return self._normed(rows) if "embed.norm.gain" in self._arrays else rows

    def patch_rows(self, patches: F64) -> F64:
        """What the first layer takes of patches (images, patches, values), without the row in front of them."""
        rows = patches @ self._arrays["embed.patch.weight"] + self._arrays["embed.patch.bias"]
        return rows + self._arrays["embed.position"][1:]

    def logits(self, answer: F32) -> F32:
        """Of last hidden rows, (rows, vocab) or (rows, labels)."""
        assert self._head is not None
        rows = answer.astype(np.float64)
        if "head.norm.gain" in self._arrays:  # the server's norm only divides
            rows = rows * self._arrays["head.norm.gain"] + self._arrays.get("head.norm.bias", 0.0)
        if "pooler.weight" in self._arrays:
            rows = np.tanh(rows @ self._arrays["pooler.weight"] + self._arrays["pooler.bias"])
        logits: F32 = rows.astype(np.float32) @ self._head
        return logits + self._arrays.get("head.bias", np.float32(0))

    def _normed(self, rows: F64) -> F64:
        rows = rows - rows.mean(-1, keepdims=True)
        rows /= np.sqrt((rows**2).mean(-1, keepdims=True) + self._eps)
        return rows * self._arrays["embed.norm.gain"] + self._arrays["embed.norm.bias"]


def client_part(folder: Path, about: KeyAbout) -> tuple[ModelSpec, OwnPart | None]:
    """The model's public facts, which must be those of the key, and what the client computes itself, if anything."""
    spec = read_spec(folder)
    if (about.vocab, about.width, about.context) != (spec.vocab, spec.width, spec.max_tokens):
        raise IntegrityError(f"{folder}: key and config.json are of different models: cover the model again")
    return spec, OwnPart(folder, about, spec.eps) if level_of(about.level).local else None


def write_own_part(folder: Path, weights: Mapping[str, Array], tied: bool) -> str:
    """Write the plain model's arrays of it, for their owner alone; return the file's SHA-256.

    They have our names, weights of linear layers (in, out); a tied head is left out, as it is embed.token turned.
    Embeddings: embed.token, embed.position, embed.type, and for BERT embed.norm.gain and .bias; for images
    embed.patch.weight and .bias, embed.class and embed.position. Head: head.norm.gain and .bias, pooler.weight and
    .bias, head.weight and .bias, as far as the family has them.
    """
    own = {name: value for name, value in weights.items() if name.startswith(PARTS)}
    if tied:
        del own["head.weight"]
    data = save(own)
    write_private(folder / FILE, data)
    return hashlib.sha256(data).hexdigest()


def _load(path: Path, sha256: str) -> dict[str, Array]:
    """Only what was written with the key: another model's part would answer, and wrongly."""
    data = read_written(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(
            f"{path} is cut short, changed, or not of this key: copy it again, or cover the model again"
        )
    return load(data)
