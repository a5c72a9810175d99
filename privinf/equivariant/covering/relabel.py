"""The weakest level: a permutation of the vocabulary and of the labels, every other weight as it was."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.draw import Draw
from privinf.equivariant.covering.plain import Plain


def relabel(plain: Plain, draw: Draw) -> Covered:
    """The whole model; a tied head stays tied, as both change in the same way."""
    out = dict(plain.weights)
    tokens = labels = None
    if plain.spec.vocab:
        tokens = draw.order(plain.spec.vocab)
        place = np.argsort(tokens)  # the plain id at each covered one
        out["embed.token"] = plain.weights["embed.token"][place]
    if plain.spec.labels:
        order = draw.order(len(plain.spec.labels))
        labels = np.ascontiguousarray(np.eye(len(order))[:, order].T)
        out["head.weight"] = np.ascontiguousarray(out["head.weight"][:, order])
        out["head.bias"] = out["head.bias"][order]
    if plain.tied:
        del out["head.weight"]
    elif tokens is not None and plain.spec.task == "generate":
        out["head.weight"] = np.ascontiguousarray(out["head.weight"][:, place])
    return Covered(out, plain.spec.width, tied=plain.tied, tokens=tokens, labels=labels)
