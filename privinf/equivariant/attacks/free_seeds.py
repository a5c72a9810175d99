"""A4: rows that every model has in an order that everybody knows, positions and biases, found again in covered form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.matching import Array, nearest
from privinf.equivariant.attacks.regression import Reader, learn, principal
from privinf.equivariant.attacks.view import Findings, Leak, View
from privinf.equivariant.attacks.weights import kind_of

TABLES = ("embed.position", "embed.type")


def free_seeds(view: View, leak: Leak) -> Findings:
    """BERT's hidden cover only changes places: match columns. Otherwise a regression, then the likeliest token."""
    pairs = list(_pairs(view))
    if not pairs:
        return Findings(skipped="this family has no positions and no biases on its residual stream")
    covered = np.concatenate([ours for ours, _ in pairs]).astype(np.float64)
    plain = np.concatenate([theirs for _, theirs in pairs]).astype(np.float64)
    targets, facts = view.traffic.targets, {"free_rows": len(plain)}
    if view.decoder:
        axes = principal(view)
        guess, _ = Reader(view, axes, learn(plain, covered @ axes)).read(targets)
        return Findings({"likeliest token": guess}, facts=facts)
    rows = view.table[targets][:, _places(covered, plain)]
    return Findings({"nearest token": view.read(targets, rows)}, facts=facts)


def _pairs(view: View) -> Iterator[tuple[Array, Array]]:
    """Covered and plain rows, as long as the server's part has them and says something."""
    for name in _names(view):
        if name in view.server and name in view.plain:
            ours = np.atleast_2d(view.server.centred(view.server[name]))
            theirs = np.atleast_2d(view.plain.centred(view.plain[name]))
            if len(ours) == len(theirs) and ours.any() and theirs.any():
                yield ours, theirs


def _names(view: View) -> Iterator[str]:
    if kind_of(view.spec) == "rms":
        return
    yield from TABLES
    norms = [] if view.decoder else ["embed.norm"]
    for i in range(view.spec.layers):
        yield f"layer{i}.attn.out.bias"
        yield f"layer{i}.ffn.down.bias"
        norms += [] if view.decoder else [f"layer{i}.attn.norm", f"layer{i}.ffn.norm"]
    for norm in norms:
        yield f"{norm}.gain"
        yield f"{norm}.bias"


def _places(covered: Array, plain: Array) -> npt.NDArray[np.int64]:
    """The covered column of each plain one."""
    return nearest(plain.T, covered.T, 1)[0][:, 0]
