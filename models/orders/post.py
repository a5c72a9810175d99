"""Norms behind what they follow, as in BERT: the residual is what a norm gave, and its gain comes back by a skip."""

from __future__ import annotations

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Layer, Model
from privinf.models.transformer import attend, feed


def run(ops: Ops[Sum, Rows], model: Model, x: Rows) -> Rows:
    """The last layer's normalised rows (batch, rows, width), before gain and bias."""
    for layer in model.layers:
        x = block(ops, layer, x)
    return x


def block(ops: Ops[Sum, Rows], layer: Layer, x: Rows) -> Rows:
    """One layer on normalised rows."""
    assert layer.attention_skip is not None
    assert layer.ffn_skip is not None
    with ops.at(layer.attention.label):
        y = ops.skip(attend(ops, layer.attention, x), x, layer.attention_skip)
        x = ops.normalise(y, layer.attention_norm)
    with ops.at(layer.ffn.label):
        y = ops.skip(feed(ops, layer.ffn, x), x, layer.ffn_skip)
        return ops.normalise(y, layer.ffn_norm)
