"""What GGUF files and those of llama2.c have in common, both named after one family: its blocks, and how pairs lie."""

from __future__ import annotations

import numpy as np

from privinf.formats.directory import Array
from privinf.models.spec import BlockSpec, ModelSpec, Rotary

FAMILY = "llama"
TURNED = ("attn.q.weight", "attn.k.weight")


def blocks(layers: int, head_width: int, theta: float) -> tuple[BlockSpec, ...]:
    """So many layers: nobody may ask for more than a file can hold."""
    return (BlockSpec("silu", gated=True, rotary=Rotary(theta, head_width)),) * layers


def halves(name: str, rows: Array, spec: ModelSpec) -> Array:
    """Queries and keys as transformers stores them: of a pair that turns together, halves apart, not neighbours."""
    if not name.endswith(TURNED):
        return rows
    pairs = rows.reshape(-1, spec.head_width // 2, 2, spec.width)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))
