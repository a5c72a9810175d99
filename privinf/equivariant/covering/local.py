"""The client's own part at the level `session`: embedding, positions, last norm and head, in the clear."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.numpy import save

from privinf.equivariant.asking.own_part import FILE
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.key import write_private
from privinf.models.source.tensors import Array

PARTS = ("embed.", "head.", "pooler.")


def local_weights(plain: Plain) -> dict[str, Array]:
    """Arrays by our names, weights of linear layers (in, out); a tied head is left out, as it is embed.token turned.

    Embeddings: embed.token, embed.position, embed.type, and for BERT embed.norm.gain and .bias; for images
    embed.patch.weight and .bias, embed.class and embed.position. Head: head.norm.gain and .bias, pooler.weight and
    .bias, head.weight and .bias, as far as the family has them.
    """
    skipped = {"head.weight"} if plain.tied else set()
    return {
        name: value for name, value in plain.weights.items() if name.startswith(PARTS) and name not in skipped
    }


def write_local(folder: Path, plain: Plain) -> str:
    """Write them, for their owner alone: they are the plain model's; return the file's SHA-256."""
    data = save(local_weights(plain))
    write_private(folder / FILE, data)
    return hashlib.sha256(data).hexdigest()
