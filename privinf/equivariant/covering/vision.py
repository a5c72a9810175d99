"""Covers vision transformers: values inside patches, places of patches, hidden values and labels."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.covers import invertible
from privinf.equivariant.covering.draw import Draw
from privinf.equivariant.covering.layers import Weights, cover_layers, folded, put, put_norm
from privinf.equivariant.covering.noise import Noise, noisy
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.covering.stream import square


def cover_vision(plain: Plain, draw: Draw, noise: Noise | None = None) -> Covered:
    """The whole model; the key's patches come in row by row, values as (channel, row, column)."""
    stream = square(plain, draw)
    hidden, answer = stream.write(), stream.read()
    alpha_e, alpha_h = (noise.alpha_e, noise.alpha_h) if noise else (0.0, 0.0)
    patches, back = invertible(draw, plain.spec.patches.values)
    places = draw.order(plain.spec.patches.count)
    out: Weights = {}
    weight = noisy(plain.exact("embed.patch.weight"), alpha_e, draw)
    put(out, "embed.patch.weight", back @ weight @ hidden)
    put(out, "embed.patch.bias", plain.exact("embed.patch.bias") @ hidden)
    put(out, "embed.class", plain.exact("embed.class") @ hidden)
    positions = noisy(plain.exact("embed.position"), alpha_e, draw) @ hidden
    # The first belongs to no patch and stays.
    put(out, "embed.position", np.vstack((positions[:1], positions[1:][np.argsort(places)])))
    out |= cover_layers(plain, draw, stream)
    put_norm(out, plain, "head.norm", stream)
    cover, labels = invertible(draw, len(plain.spec.labels))
    head, bias = folded(plain, "head", "head.norm")
    put(out, "head.weight", answer @ noisy(head, alpha_h, draw) @ cover)
    assert bias is not None
    put(out, "head.bias", bias @ cover)
    return Covered(
        out, stream.width, hidden=hidden, answer=answer, labels=labels, patches=patches, places=places
    )


def cover_vision_layers(plain: Plain, draw: Draw) -> Covered:
    """Layers and the last norm; the client embeds patches, adds their positions, and sends rows as if they were pixels.

    The row in front of them is the same for every image, and so it is a weight.
    """
    stream = square(plain, draw)
    out = cover_layers(plain, draw, stream)
    put_norm(out, plain, "head.norm", stream)
    first = plain.exact("embed.class") + plain.exact("embed.position")[0]
    put(out, "embed.class", first @ stream.into)
    put(out, "embed.position", np.zeros((plain.spec.max_tokens, plain.spec.width)))
    put(out, "embed.patch.weight", np.eye(plain.spec.width))
    put(out, "embed.patch.bias", np.zeros(plain.spec.width))
    places = draw.order(plain.spec.patches.count)
    return Covered(out, stream.width, local=True, hidden=stream.into, answer=stream.back, places=places)
