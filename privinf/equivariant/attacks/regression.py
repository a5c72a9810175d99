"""Learns how rows are covered from pairs that are known, and says of a covered row how likely each token makes it.

A covered row is taken for e B + noise, with B unknown: Bayesian regression of covered on plain rows. Its prediction for
a token with row e is a mean e M and a variance that grows where the known rows say little about e. Noise then lies on
what is predicted and not on what predicts: nothing is shrunk, and a token far from all known ones is not preferred.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.matching import TOP, Array, Ids, mutual, nearest
from privinf.equivariant.attacks.signatures import F64
from privinf.equivariant.attacks.view import Guess, Leak, View

RIDGES = (1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # parts of the mean eigenvalue
HELD_OUT = 5  # a part in so many of the pairs chooses among them
FLAT = 1.001  # variances that differ by less are taken for equal
BLOCK = 256
LEARNING = 1500  # symbols that further pairs are sought among, the most frequent ones
# Of mutual choices, those that are clearest: ever more of them, round after round.
KEPT = (0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What covered rows are to be expected of plain ones.

    Attributes:
        matrix: plain rows to the means of covered ones, both less their middle.
        frame: eigenvectors of the known plain rows, each over the root of its damped eigenvalue.
        noise: variance of one value.
    """

    middle: F64 = field(repr=False)
    target: F64 = field(repr=False)
    matrix: F64 = field(repr=False)
    frame: F64 = field(repr=False)
    noise: float

    def means(self, plain: Array) -> F64:
        return np.asarray((plain - self.middle) @ self.matrix + self.target)

    def variances(self, plain: Array) -> F64:
        """In units of the noise."""
        return np.asarray(1 + np.square((plain - self.middle) @ self.frame).sum(1))

    def misfit(self, plain: Array, covered: Array) -> tuple[F64, F64]:
        """Squared distance of each covered row from its mean, and its variance."""
        return np.square(covered - self.means(plain)).sum(1), self.variances(plain)


def learn(plain: Array, covered: Array) -> Prediction:
    """From pairs of rows; a part of them, held out, says how much is noise."""
    plain, covered = plain.astype(np.float64), covered.astype(np.float64)
    held = np.arange(len(plain)) % HELD_OUT == HELD_OUT - 1
    if not held.any():
        return _Solver(plain, covered).at(RIDGES[0], 1.0)
    solver, best = _Solver(plain[~held], covered[~held]), (np.inf, RIDGES[0], 1.0)
    for ridge in RIDGES:
        square, variance = solver.at(ridge, 1.0).misfit(plain[held], covered[held])
        noise = max(float((square / variance).mean() / covered.shape[1]), 1e-30)
        loss = float(np.log(noise) + np.log(variance).mean())
        best = min(best, (loss, ridge, noise))
    return _Solver(plain, covered).at(*best[1:])


class _Solver:
    """One eigendecomposition for all ridges."""

    def __init__(self, plain: F64, covered: F64) -> None:
        self._middle, self._target = plain.mean(0), covered.mean(0)
        rows = plain - self._middle
        self._values, self._vectors = np.linalg.eigh(rows.T @ rows)
        self._given = self._vectors.T @ (rows.T @ (covered - self._target))

    def at(self, ridge: float, noise: float) -> Prediction:
        damped = np.maximum(self._values, 0) + ridge * max(float(self._values.mean()), 1e-30)
        matrix = self._vectors @ (self._given / damped[:, None])
        return Prediction(self._middle, self._target, matrix, self._vectors / np.sqrt(damped), noise)


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads covered rows by a prediction."""

    view: View
    axes: F64 = field(repr=False)
    prediction: Prediction

    def read(self, symbols: Ids) -> tuple[Guess, F64]:
        """Tokens for symbols, and each one's misfit, (symbols, tokens)."""
        rows = self.view.table[symbols] @ self.axes
        top = min(TOP, self.view.spec.vocab)
        found, misfit = np.empty((len(symbols), top), dtype=np.int64), np.empty((len(symbols), top))
        for places, position in self.view.groups(symbols):
            means, variances = self._predicted(position)
            found[places], misfit[places] = _likeliest(rows[places], means, variances, self.prediction.noise)
        return Guess(symbols, found), misfit

    def _predicted(self, position: int) -> tuple[F64, F64]:
        """Of every candidate at a position; what candidates share of it is computed once."""
        shift, prediction = self.view.shift(position), self.prediction
        if shift is None:
            pool = self.view.candidates(position)
            return prediction.means(pool), prediction.variances(pool)
        means, framed = self._shared
        framed = framed + shift @ prediction.frame
        return means + shift @ prediction.matrix, 1 + np.einsum("ij,ij->i", framed, framed)

    @cached_property
    def _shared(self) -> tuple[F64, F64]:
        pool, prediction = self.view.unshifted, self.prediction
        return prediction.means(pool), (pool - prediction.middle) @ prediction.frame


def reader(view: View, known: Leak) -> Reader:
    """Learn from symbols whose tokens are known."""
    axes = principal(view)
    return Reader(view, axes, learn(view.plain_rows(known), view.table[known.symbols] @ axes))


def principal(view: View) -> F64:
    """Axes that hold all of what covered rows vary in, no more of them than plain rows have values."""
    table = view.table.astype(np.float64)
    _, vectors = np.linalg.eigh(table.T @ table)
    return np.ascontiguousarray(vectors[:, -view.spec.width :])


def expand(view: View, leak: Leak) -> Guess:
    """From known pairs to all targets: read, take the clearest mutual choices for known too, and learn again."""
    frequent = view.traffic.frequent
    learning = frequent[~np.isin(frequent, leak.symbols)][:LEARNING]
    known, before = leak, None
    for kept in KEPT if len(learning) else ():
        guess, misfit = reader(view, known).read(learning)
        if before is not None and np.array_equal(before, guess.plain[:, 0]):
            break
        before = guess.plain[:, 0]
        sure = _sure(view, guess, misfit, kept)
        known = Leak(np.append(leak.symbols, learning[sure]), np.append(leak.plain, before[sure]))
    return read_others(view, leak, known)


def read_others(view: View, told: Leak, known: Leak) -> Guess:
    """All targets but those that were told, by what is known."""
    guess, _ = reader(view, known).read(np.setdiff1d(view.traffic.targets, told.symbols))
    return replace(guess, told=told.symbols, texts=view.traffic.texts)


def _sure(view: View, guess: Guess, misfit: F64, kept: float) -> npt.NDArray[np.bool_]:
    """Which guesses to believe."""
    sure = np.zeros(len(guess.symbols), dtype=bool)
    for places, _ in view.groups(guess.symbols):
        sure[places] = mutual(guess.plain[places, 0], view.spec.vocab, misfit[places, 0])
    if sure.any():
        clear = misfit[:, 1] - misfit[:, 0]
        sure &= clear >= np.quantile(clear[sure], 1 - kept)
    return sure


def _likeliest(rows: F64, means: F64, variances: F64, noise: float) -> tuple[Ids, F64]:
    """The tokens of least |row - mean|² / (noise variance) + values log variance, which is twice a log likelihood."""
    if variances.max() < FLAT:
        found, square = nearest(rows.astype(np.float32), means.astype(np.float32))
        return found, square / noise
    costs = noise * rows.shape[1] * np.log(variances)
    weighed = np.hstack((-2 * means, np.ones((len(means), 1)), np.square(means).sum(1)[:, None]))
    pool = (np.hstack((weighed / variances[:, None], costs[:, None]))).astype(np.float32)
    top = min(TOP, len(means))
    found, misfit = np.empty((len(rows), top), dtype=np.int64), np.empty((len(rows), top))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        ones = np.ones((len(block), 1))
        given = np.hstack((block, np.square(block).sum(1)[:, None], ones, ones)).astype(np.float32)
        near = np.argpartition(given @ pool.T, top - 1, axis=1)[:, :top]
        exact = np.square(block[:, None] - means[near]).sum(-1) / variances[near] + costs[near]
        order = np.argsort(exact, axis=1, kind="stable")
        found[start : start + BLOCK] = np.take_along_axis(near, order, 1)
        misfit[start : start + BLOCK] = np.take_along_axis(exact, order, 1) / noise
    return found, misfit
