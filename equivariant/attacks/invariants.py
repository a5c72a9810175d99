"""A2: what no cover without noise changes about a row: its length, its leverage score, its place among all rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.matching import Ids, nearest
from privinf.equivariant.attacks.signatures import F64, Array, comparable, leverage, signatures, whitened
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View


def invariants(view: View, leak: Leak) -> Findings:
    """Match rows of the embedding by each; where only a client's rows are seen, by length alone."""
    guesses = {"row norms": _by_norm(view)}
    if not view.local:
        ours, theirs = view.table, view.candidates()
        guesses["leverage scores"] = _match(view, leverage(ours)[:, None], leverage(theirs)[:, None])
        guesses["signatures, orthogonal covers"] = _match(view, signatures(ours), signatures(theirs))
        pair = signatures(whitened(ours)), signatures(whitened(theirs))
        guesses["signatures, any cover"] = _match(view, *pair)
    return Findings(guesses, facts={"duplicate_rows": _duplicates(view)})


def _by_norm(view: View) -> Guess:
    targets = view.traffic.targets
    ours = _norms(view.table[targets])
    found = np.empty((len(targets), 0), dtype=np.int64)
    for places, position in view.groups(targets):
        near = _closest(ours[places], _norms(view.candidates(position)))
        if not found.shape[1]:
            found = np.empty((len(targets), near.shape[1]), dtype=np.int64)
        found[places] = near
    return Guess(targets, found)


def _norms(rows: Array) -> F64:
    return np.asarray(np.square(rows.astype(np.float64)).sum(1, keepdims=True), dtype=np.float64)


def _match(view: View, ours: F64, theirs: F64) -> Guess:
    targets = view.traffic.targets
    return Guess(targets, _closest(ours[targets], theirs))


def _closest(ours: F64, theirs: F64) -> Ids:
    return nearest(*comparable(ours, theirs))[0]


def _duplicates(view: View) -> int:
    """Tokens whose plain row another token has as well: nothing about the rows can tell them apart."""
    rows = np.ascontiguousarray(view.candidates())
    keys: npt.NDArray[np.void] = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, counts = np.unique(keys, return_counts=True)
    return int(counts[counts > 1].sum())
