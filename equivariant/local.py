"""The client's own part at the level `session`: embedding, positions, last norm and head, in the clear."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.numpy import save

from privinf.equivariant.plain import Plain
from privinf.models.tensors import Array

FILE = "local.safetensors"
PARTS = ("embed.", "final.", "head.", "pooler.")


def local_weights(plain: Plain) -> dict[str, Array]:
    """Arrays by our names, weights of linear layers (in, out); a tied head is left out, as it is embed.token turned.

    Embeddings: embed.token, embed.position, embed.type, and for BERT embed.norm.gain and .bias; for images
    embed.patch.weight and .bias, embed.class and embed.position. Head: final.norm.gain and .bias, pooler.weight and
    .bias, head.weight and .bias, as far as the family has them.
    """
    skipped = {"head.weight"} if plain.tied else set()
    return {
        name: value for name, value in plain.weights.items() if name.startswith(PARTS) and name not in skipped
    }


def write_local(folder: Path, plain: Plain) -> None:
    """Write them, for their owner alone: they are the plain model's."""
    data = save(local_weights(plain))
    handle = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
