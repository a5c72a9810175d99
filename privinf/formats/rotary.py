"""What GGUF files and those of llama2.c have in common, both named after one family: its blocks, and how pairs lie."""

from __future__ import annotations

from functools import partial

import numpy as np

from privinf.formats.directory import Array
from privinf.models.spec import BlockSpec, ModelSpec, Rotary

FAMILY = "llama"
LLAMA = partial(ModelSpec, family=FAMILY, order="pre", norm="rms")
# Tensors of a layer in the order of llama2.c's files, by what GGUF files call them.
LAYER = {
    "attn_norm": "attn.norm.gain",
    "attn_q": "attn.q.weight",
    "attn_k": "attn.k.weight",
    "attn_v": "attn.v.weight",
    "attn_output": "attn.out.weight",
    "ffn_norm": "ffn.norm.gain",
    "ffn_gate": "ffn.gate.weight",
    "ffn_down": "ffn.down.weight",
    "ffn_up": "ffn.up.weight",
}
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
