"""A2: what no cover without noise changes about a row: its length, its leverage score, its place among all rows."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.attacks.matching import TOP, Array, Ids, nearest
from privinf.equivariant.attacks.signatures import F64, comparable, leverage, signatures, whitened
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View

TWINS = 512  # tokens drawn
TWIN = 1e-3  # of a row's length


def invariants(view: View, leak: Leak) -> Findings:
    """Match rows of the embedding by each; where only a client's rows are seen, by length alone."""
    guesses = {"row norms": _by_norm(view)}
    if not view.local:
        ours, theirs = view.table, view.candidates()
        guesses["leverage scores"] = _match(view, leverage(ours)[:, None], leverage(theirs)[:, None])
        guesses["signatures, orthogonal covers"] = _match(view, signatures(ours), signatures(theirs))
        pair = signatures(whitened(ours)), signatures(whitened(theirs))
        guesses["signatures, any cover"] = _match(view, *pair)
    return Findings(guesses, facts={"tokens_with_a_twin": _twins(view)})


def _by_norm(view: View) -> Guess:
    targets = view.traffic.targets
    ours = _norms(view.table[targets])
    found = np.empty((len(targets), min(TOP, view.spec.vocab)), dtype=np.int64)
    for places, position in view.groups(targets):
        found[places] = _closest(ours[places], _norms(view.candidates(position)))
    return Guess(targets, found)


def _norms(rows: Array) -> F64:
    return np.asarray(np.square(rows.astype(np.float64)).sum(1, keepdims=True), dtype=np.float64)


def _match(view: View, ours: F64, theirs: F64) -> Guess:
    targets = view.traffic.targets
    return Guess(targets, _closest(ours[targets], theirs))


def _closest(ours: F64, theirs: F64) -> Ids:
    return nearest(*comparable(ours, theirs))[0]


def _twins(view: View) -> float:
    """The part of all tokens, by a sample, whose plain row all but equals another's: such were never trained."""
    rows = view.candidates()
    drawn = np.random.default_rng(view.traffic.seed).choice(len(rows), min(TWINS, len(rows)), replace=False)
    _, distance = nearest(rows[drawn], rows, 2)
    size = np.square(rows[drawn].astype(np.float64)).sum(1)
    return float(np.mean(distance[:, -1] <= TWIN**2 * size))
