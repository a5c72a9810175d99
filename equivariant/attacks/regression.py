"""Finds the linear map between rows whose partners are known, and learns further partners from what it maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.matching import Array, Ids, mutual
from privinf.equivariant.attacks.view import Guess, Leak, View

F64 = npt.NDArray[np.float64]
RIDGES = (1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # parts of the mean eigenvalue
HELD_OUT = 5  # a part in so many of the pairs chooses among them
LEARNING = 1500  # symbols that further pairs are sought among, the most frequent ones
# Of mutual neighbours, those whose second choice is farthest: ever more of them, round after round.
KEPT = (0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """ideal = (rows - middle) @ matrix + target."""

    middle: F64 = field(repr=False)
    matrix: F64 = field(repr=False)
    target: F64 = field(repr=False)

    def __call__(self, rows: Array) -> F64:
        mapped: F64 = (rows - self.middle) @ self.matrix + self.target
        return mapped


def fit(rows: Array, ideal: Array) -> LinearMap:
    """Ridge regression; a part of the pairs, held out, says how much ridge there is to be."""
    rows, ideal = rows.astype(np.float64), ideal.astype(np.float64)
    held = np.arange(len(rows)) % HELD_OUT == HELD_OUT - 1
    if held.any():
        solver = _Solver(rows[~held], ideal[~held])
        losses = [np.square(solver(ridge)(rows[held]) - ideal[held]).sum() for ridge in RIDGES]
        ridge = RIDGES[int(np.argmin(losses))]
    else:
        ridge = RIDGES[0]
    return _Solver(rows, ideal)(ridge)


class _Solver:
    """One eigendecomposition for all ridges."""

    def __init__(self, rows: F64, ideal: F64) -> None:
        self._middle, self._target = rows.mean(0), ideal.mean(0)
        self._rows, self._ideal = rows - self._middle, ideal - self._target
        self._wide = len(rows) < rows.shape[1]
        square = self._rows @ self._rows.T if self._wide else self._rows.T @ self._rows
        self._values, self._vectors = np.linalg.eigh(square)

    def __call__(self, ridge: float) -> LinearMap:
        damped = np.maximum(self._values, 0) + ridge * max(self._values.mean(), 1e-30)
        given = self._ideal if self._wide else self._rows.T @ self._ideal
        solved = self._vectors @ ((self._vectors.T @ given) / damped[:, None])
        return LinearMap(self._middle, self._rows.T @ solved if self._wide else solved, self._target)


def expand(view: View, leak: Leak) -> Guess:
    """From known pairs to all targets: map, take mutual neighbours for known too, and map again."""
    frequent = view.traffic.frequent
    learning = frequent[~np.isin(frequent, leak.symbols)][:LEARNING]
    symbols, plain = leak.symbols, leak.plain
    before = None
    for kept in KEPT if len(learning) else ():
        mapping = fit(view.table[symbols], view.plain_rows(plain, symbols))
        guess, sure = _turn(view, learning, mapping(view.table[learning]), kept)
        if before is not None and np.array_equal(before, guess.plain[:, 0]):
            break
        before = guess.plain[:, 0]
        symbols = np.concatenate([leak.symbols, learning[sure]])
        plain = np.concatenate([leak.plain, guess.plain[sure, 0]])
    targets = np.setdiff1d(view.traffic.targets, leak.symbols)
    mapping = fit(view.table[symbols], view.plain_rows(plain, symbols))
    return Guess(targets, view.read(targets, mapping(view.table[targets])).plain, told=leak.symbols)


def _turn(view: View, targets: Ids, rows: F64, kept: float) -> tuple[Guess, npt.NDArray[np.bool_]]:
    """Guesses, and which of them to believe."""
    guess = view.read(targets, rows)
    best = view.plain_rows(guess.plain[:, 0], targets)
    second = view.plain_rows(guess.plain[:, 1], targets)
    near, far = np.square(rows - best).sum(1), np.square(rows - second).sum(1)
    sure = np.zeros(len(targets), dtype=bool)
    for places, _ in view.groups(targets):
        sure[places] = mutual(guess.plain[places, 0], view.facts.vocab, near[places])
    if sure.any():
        ratio = near / np.maximum(far, 1e-30)
        sure &= ratio <= np.quantile(ratio[sure], kept)
    return guess, sure
