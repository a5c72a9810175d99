"""A7: an inverter trained on pairs of covered and plain rows, which is a regression where covers are linear."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.attacks.regression import reader
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View

SHARE = 0.5


def inversion(view: View, leak: Leak) -> Findings:
    """Half of all tokens that occur are known with their rows, drawn at random; the others are to be read."""
    order = np.random.default_rng(0).permutation(len(leak.symbols))
    taught = order[: int(SHARE * len(order))]
    symbols, plain = leak.symbols[taught], leak.plain[taught]
    targets = np.setdiff1d(view.traffic.targets, symbols)
    guess, _ = reader(view, symbols, plain).read(targets)
    return Findings({"regression": Guess(targets, guess.plain, told=symbols)}, facts={"pairs": len(taught)})
