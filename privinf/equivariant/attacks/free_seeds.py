"""A4: rows that every model has in an order that everybody knows, positions and biases, found again in covered form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from privinf.equivariant.attacks.matching import Array, nearest
from privinf.equivariant.attacks.regression import Reader, learn, principal
from privinf.equivariant.attacks.view import Findings, Leak, View
from privinf.equivariant.attacks.weights import kind_of

BIASES = ("attn.out.bias", "ffn.down.bias")
NORMS = ("attn.norm.gain", "attn.norm.bias", "ffn.norm.gain", "ffn.norm.bias")


def free_seeds(view: View, leak: Leak) -> Findings:
    """BERT's hidden cover only changes places: match columns. Otherwise a regression, then the likeliest token."""
    pairs = list(_pairs(view))
    if not pairs:
        return Findings(skipped="this family has no positions and no biases on its residual stream")
    covered, plain = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    targets, facts = view.traffic.targets, {"free_rows": len(plain)}
    if view.decoder:
        axes = principal(view)
        guess, _ = Reader(view, axes, learn(plain, covered @ axes)).read(targets)
        return Findings({"likeliest token": guess}, facts=facts)
    places = nearest(plain.T, covered.T, 1)[0][:, 0]  # the covered column of each plain one
    rows = view.table[targets][:, places]
    return Findings({"nearest token": view.read(targets, rows)}, facts=facts)


def _pairs(view: View) -> Iterator[tuple[Array, Array]]:
    """Covered and plain rows, as long as the server's part has them and says something."""
    for name in _names(view):
        if name in view.server and name in view.plain:
            ours, theirs = (np.atleast_2d(side.centred(side[name])) for side in (view.server, view.plain))
            if len(ours) == len(theirs) and ours.any() and theirs.any():
                yield ours, theirs


def _names(view: View) -> Iterator[str]:
    if kind_of(view.spec) == "rms":
        return
    yield from ("embed.position", "embed.type")
    if not view.decoder:  # norms are on the residual
        yield from ("embed.norm.gain", "embed.norm.bias")
    parts = BIASES if view.decoder else BIASES + NORMS
    yield from (f"layer{i}.{part}" for i in range(view.spec.layers) for part in parts)
