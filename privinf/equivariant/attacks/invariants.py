"""A2: what no cover without noise changes about a row: its length, its leverage score, its place among all rows."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.attacks.matching import Array, nearest
from privinf.equivariant.attacks.signatures import F64, leverage, matched, signatures, whitened
from privinf.equivariant.attacks.view import Findings, Leak, View

TWINS = 512  # tokens drawn
TWIN = 1e-3  # of a row's length


def invariants(view: View, leak: Leak) -> Findings:
    """Match rows of the embedding by each; where only a client's rows are seen, by length alone."""
    targets, made = view.traffic.targets, {"row norms": _norms}
    if not view.local:
        made["leverage scores"] = lambda rows: leverage(rows)[:, None]
        made["signatures, orthogonal covers"] = signatures
        made["signatures, any cover"] = lambda rows: signatures(whitened(rows))
    guesses = {
        name: view.closest(targets, make(view.table)[targets], make, matched)[0]
        for name, make in made.items()
    }
    return Findings(guesses, facts={"tokens_with_a_twin": _twins(view)})


def _norms(rows: Array) -> F64:
    return np.asarray(np.square(rows.astype(np.float64)).sum(1, keepdims=True), dtype=np.float64)


def _twins(view: View) -> float:
    """The part of all tokens, by a sample, whose plain row all but equals another's: such were never trained."""
    rows = view.candidates()
    drawn = np.random.default_rng(view.traffic.seed).choice(len(rows), min(TWINS, len(rows)), replace=False)
    _, distance = nearest(rows[drawn], rows, 2)
    size = np.square(rows[drawn].astype(np.float64)).sum(1)
    return float(np.mean(distance[:, -1] <= TWIN**2 * size))
