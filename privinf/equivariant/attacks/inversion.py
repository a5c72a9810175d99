"""A7: an inverter trained on pairs of covered and plain rows, which is a regression where covers are linear."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.attacks.regression import read_others
from privinf.equivariant.attacks.view import Findings, Leak, View, joined

SHARE = 0.5
LEAST = 4  # pairs


def inversion(view: View, leak: Leak) -> Findings:
    """Half of a session's tokens are known with their rows, drawn at random; the others are to be read."""
    rng, guesses, pairs = np.random.default_rng(view.traffic.seed), [], []
    for session in view.sessions():
        frequent = session.traffic.frequent
        known = frequent[rng.permutation(len(frequent))[: int(SHARE * len(frequent))]]
        if len(known) >= LEAST and len(leak.symbols):
            told = leak.of(known)
            guesses.append(read_others(session, told, told))
            pairs.append(len(known))
    if not guesses:
        return Findings(skipped="there are too few different tokens to know some and read others")
    facts = {"pairs": round(float(np.mean(pairs))), "sessions": len(pairs) if view.traffic.sessions else None}
    return Findings({"regression": joined(guesses)}, facts={k: v for k, v in facts.items() if v is not None})
