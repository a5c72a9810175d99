"""A2 on the body: feed-forward columns are matched by their signatures, and what they read with undoes every cover.

A covered layer reads with B⁻¹ W Z, where an activation lets Z only change the columns' places. Whitened columns keep
their signatures under any B⁻¹, so Z is found; then B⁻¹ follows by least squares, and a covered row x B is turned into
x. No row of the vocabulary takes part: covers of clients that embed by themselves fall too, and noise on embeddings
stays what it is, noise around a known point. The noise on the head is another draw, which `doubled` reads as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.doubled import doubled
from privinf.equivariant.attacks.matching import Array, Ids, mutual, nearest
from privinf.equivariant.attacks.signatures import F64, RANK, comparable, signatures, whitened
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View
from privinf.equivariant.attacks.weights import first_part


@dataclass(frozen=True, eq=False)
class Uncovering:
    """covered rows @ matrix = plain rows @ seen, as far as `residual`, a part of one, says.

    `seen` leaves out what the layer does not read, where a gain before it is zero. `order` is the plain place of each
    covered column, where it is `sure`.
    """

    matrix: F64 = field(repr=False)
    seen: F64 = field(repr=False)
    order: Ids = field(repr=False)
    sure: npt.NDArray[np.bool_] = field(repr=False)
    residual: float


def body(view: View, leak: Leak) -> Findings:
    """Undo the cover of every row, then take the closest token."""
    found = uncover(view)
    if found is None:
        return Findings(skipped="no two columns could be matched")
    targets = view.traffic.targets
    matched = int(found.sure.sum())
    facts = {"columns": len(found.sure), "matched_columns": matched, "residual": found.residual}
    rows = view.table[targets] @ found.matrix
    guesses = {"nearest token": view.read(targets, rows, found.seen)}
    if view.about.what.noisy:
        noise = _noise(view, guesses["nearest token"], rows)
        facts["noise"] = noise**0.5
        guesses["nearest token, frequent ones first"] = view.read(targets, rows, found.seen, noise)
        pool = view.candidates() @ found.seen
        more, said = doubled(view, (rows, pool), _pairs(view))
        guesses, facts = guesses | more, facts | said
    return Findings(guesses, facts=facts)


def _noise(view: View, guess: Guess, rows: Array) -> float:
    """The variance of a value around the token that is closest."""
    best = view.plain_rows(Leak(guess.symbols, guess.plain[:, 0]))
    return float(np.median(np.square(rows - best).mean(1)))


def uncover(view: View) -> Uncovering | None:
    """The map from covered to plain rows, from the first layer's feed-forward part."""
    covered, plain, order, sure = _columns(view, 0)
    if sure.sum() < 2:
        return None
    known, ideal = covered.astype(np.float64), plain.astype(np.float64)
    inverse = np.linalg.pinv(ideal, rcond=RANK)
    matrix = known @ inverse
    residual = float(np.linalg.norm(matrix @ ideal - known) / np.linalg.norm(known))
    return Uncovering(matrix, ideal @ inverse, order, sure, residual)


def _columns(view: View, layer: int) -> tuple[Array, Array, Ids, npt.NDArray[np.bool_]]:
    """What a feed-forward part reads with, covered and plain, column by column, as far as the choice of columns is
    mutual; the plain column of each covered one, and whether it is."""
    part = first_part(view.spec)
    covered, plain = view.server.reads(layer, part), view.plain.reads(layer, part)
    ours, theirs = comparable(signatures(whitened(covered.T)), signatures(whitened(plain.T)))
    found, distance = nearest(ours, theirs, 1)
    order, sure = found[:, 0], mutual(found[:, 0], len(theirs), distance[:, 0])
    return covered[:, sure], plain[:, order[sure]], order, sure


def _pairs(view: View) -> Iterator[tuple[Array, Array]]:
    """What each layer reads with, covered and plain, column by column."""
    return (_columns(view, layer)[:2] for layer in range(view.spec.layers))
