"""Covers GPT-2 and Llama: rows of the vocabulary change places, embedding, positions and head are covered."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.covers import centring
from privinf.equivariant.covering.draw import F64, Draw
from privinf.equivariant.covering.keymat import key_matrices
from privinf.equivariant.covering.layers import Weights, cover_layers, put, put_norm
from privinf.equivariant.covering.noise import Noise, noisy
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.covering.stream import Stream, square

NORM = "head.norm"


def cover_decoder(plain: Plain, draw: Draw, noise: Noise | None = None) -> Covered:
    """The whole model; a tied head is untied, as the last norm's gain goes into it."""
    stream = _stream(plain, draw, noise)
    tokens = draw.order(plain.spec.vocab)
    alpha_e, alpha_h = (noise.alpha_e, noise.alpha_h) if noise else (0.0, 0.0)
    hidden, answer = stream.write(), stream.read()
    out: Weights = {}
    rows = noisy(plain.exact("embed.token"), alpha_e, draw) @ hidden
    place = np.argsort(tokens)  # the plain id at each covered one
    put(out, "embed.token", rows[place])
    if not plain.spec.rotary:
        put(out, "embed.position", noisy(plain.exact("embed.position"), alpha_e, draw) @ hidden)
    out |= cover_layers(plain, draw, stream)
    put_norm(out, plain, NORM, stream)
    _put_head(out, plain, noisy(plain.exact("head.weight"), alpha_h, draw), answer)
    out["head.weight"] = np.ascontiguousarray(out["head.weight"][:, place])
    return Covered(out, stream.width, stream.gain**2, tokens=tokens, hidden=hidden, answer=answer)


def cover_decoder_layers(plain: Plain, draw: Draw) -> Covered:
    """Layers and the last norm alone, which divides and no more: the client adds embeddings and applies the head."""
    stream = square(plain, draw)
    out = cover_layers(plain, draw, stream)
    out["embed.token"] = np.zeros((1, plain.spec.width), dtype=np.float32)
    if not plain.spec.rotary:
        out["embed.position"] = np.zeros((plain.spec.max_tokens, plain.spec.width), dtype=np.float32)
    put_norm(out, plain, NORM, stream)
    return Covered(out, stream.width, local=True, hidden=stream.into, answer=stream.back)


def _stream(plain: Plain, draw: Draw, noise: Noise | None) -> Stream:
    """Key matrices wider than the model need a norm that only divides; LayerNorm also takes the mean off."""
    return key_matrices(plain, draw, noise) if noise and plain.spec.norm == "rms" else square(plain, draw)


def _put_head(out: Weights, plain: Plain, head: F64, answer: F64) -> None:
    """The head with the last norm's gain and bias folded into it.

    It has no bias to take the norm's: where there is one, it goes through the row of ones, to which normalised rows
    and the centred head are orthogonal and which the norm adds. That holds for any gain, zero too.
    """
    scaled = plain.exact(f"{NORM}.gain")[:, None] * head
    bias = plain.optional(f"{NORM}.bias")
    if bias is None:
        put(out, "head.weight", answer @ scaled)
        return
    constant = (bias @ head) / plain.spec.width
    put(out, "head.weight", answer @ (centring(plain.spec.width) @ scaled + constant))
    put(out, f"{NORM}.bias", np.ones(plain.spec.width))
