"""Covers BERT, whose norms follow the residual sums: permutations of hidden values, and free maps everywhere else."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.covers import invertible, permuting
from privinf.equivariant.covering.draw import F64, Draw
from privinf.equivariant.covering.layers import Weights, cover_layers, put, put_norm
from privinf.equivariant.covering.noise import Noise, noisy
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.covering.stream import Square, square

TABLES = ("embed.token", "embed.position", "embed.type")


def cover_encoder(plain: Plain, draw: Draw, noise: Noise | None = None) -> Covered:
    """The whole model; what a classifier answers is mapped by a matrix, too."""
    stream = square(plain, draw)
    tokens = draw.order(plain.spec.vocab)
    alpha_e, alpha_h = (noise.alpha_e, noise.alpha_h) if noise else (0.0, 0.0)
    out: Weights = {}
    for table in TABLES:
        put(out, table, noisy(plain.exact(table), alpha_e, draw) @ stream.into)
    out["embed.token"][tokens] = out["embed.token"].copy()
    put_norm(out, plain, "embed.norm", stream)
    out |= cover_layers(plain, draw, stream)
    labels = _put_head(out, plain, draw, stream, alpha_h)
    return Covered(out, stream.width, tokens=tokens, hidden=stream.into, answer=stream.back, labels=labels)


def cover_encoder_layers(plain: Plain, draw: Draw) -> Covered:
    """Layers alone, to be run on normalised embeddings; what transformers expects beside them says nothing."""
    stream = square(plain, draw)
    out = cover_layers(plain, draw, stream)
    for table in TABLES:
        out[table] = np.zeros((1, plain.spec.width), dtype=np.float32)
    out["embed.norm.gain"] = np.ones(plain.spec.width, dtype=np.float32)
    out["embed.norm.bias"] = np.zeros(plain.spec.width, dtype=np.float32)
    return Covered(out, stream.width, local=True, hidden=stream.into, answer=stream.back)


def _put_head(out: Weights, plain: Plain, draw: Draw, stream: Square, alpha: float) -> F64 | None:
    """The pooler, and a classifier's last layer; returns what undoes its logits' cover.

    tanh allows permutations and signs. A pooler without classifier answers as hidden rows do, so that one key undoes
    both.
    """
    if "pooler.weight" not in plain.weights:
        return None
    inner = stream.into
    if plain.spec.labels:
        inner = permuting(draw, plain.spec.width) * draw.signs(plain.spec.width)
    put(out, "pooler.weight", stream.back @ plain.exact("pooler.weight") @ inner)
    put(out, "pooler.bias", plain.exact("pooler.bias") @ inner)
    if not plain.spec.labels:
        return None
    cover, labels = invertible(draw, len(plain.spec.labels))
    put(out, "head.weight", inner.T @ noisy(plain.exact("head.weight"), alpha, draw) @ cover)
    put(out, "head.bias", plain.exact("head.bias") @ cover)
    return labels
