"""Norms before what takes their rows, as in GPT-2 and Llama: the residual is a sum, and is never normalised itself."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Layer, Model
from privinf.models.transformer import attend, feed


def run(ops: Ops[Sum, Rows], model: Model, x: Sum) -> Sum:
    """The residual behind the last layer (batch, rows, width)."""
    for layer in model.layers:
        x = block(ops, layer, x)
    return x


def block(ops: Ops[Sum, Rows], layer: Layer, x: Sum) -> Sum:
    """One layer."""
    with ops.at(layer.attention.label):
        x = ops.add(x, attend(ops, layer.attention, ops.normalise(x, layer.attention_norm)))
    with ops.at(layer.ffn.label):
        return ops.add(x, feed(ops, layer.ffn, ops.normalise(x, layer.ffn_norm)))
