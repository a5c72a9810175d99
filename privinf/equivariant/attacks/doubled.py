"""A2 with a second witness: the head, whose columns all layers together uncover, says once more which token is which.

Every covered layer and the head read the residual with an inverse of the same cover, but for a part drawn anew that
rows never reach: W'ᵢ = (B⁻¹ + Dᵢ) Wᵢ. What turns the W'ᵢ of all layers into the plain Wᵢ at once cancels every D, and
turns the covered head into the plain one, with the head's own noise and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from privinf.equivariant.attacks.matching import Array, Ids, nearest
from privinf.equivariant.attacks.signatures import F64, RANK
from privinf.equivariant.attacks.view import Guess, View

SOME = 512  # targets say how much noise there is
LEAST = 1e-6  # of the rows' spread is taken for noise where there is none
Pairs = Iterable[tuple[Array, Array]]  # of layers: columns covered and plain
Rows = tuple[Array, Array]  # uncovered ones of the targets, and those of every token


def doubled(view: View, rows: Rows, pairs: Pairs) -> tuple[dict[str, Guess], dict[str, float]]:
    """Guesses by the head, and by embedding and head, each in units of its noise; facts of them."""
    if not view.decoder:
        return {}, {}
    targets = view.traffic.targets
    heads = (joint(pairs) @ view.server.head()[:, targets]).T, view.plain.head().T
    noises = _noise(*rows), _noise(*heads)
    given, pool = (_side_by_side((rows[i], heads[i]), noises) for i in (0, 1))
    guesses = {
        "by the head": Guess(targets, _closest(*heads)),
        "by embedding and head": Guess(targets, _closest(given, pool)),
        "by embedding and head, frequent ones first": Guess(targets, _closest(given, pool, view.rarity)),
    }
    return guesses, {"noise_of_head": noises[1]}


def joint(pairs: Pairs) -> F64:
    """What takes covered columns, (server width, columns), to plain ones: least squares over all pairs."""
    square: Any = 0.0
    mixed: Any = 0.0
    for covered, plain in pairs:
        wide = covered.astype(np.float64)
        square, mixed = square + wide @ wide.T, mixed + plain.astype(np.float64) @ wide.T
    return np.asarray(mixed @ np.linalg.pinv(square, rcond=RANK**2, hermitian=True))


def _side_by_side(parts: Sequence[Array], noises: Sequence[float]) -> Array:
    """Each in units of its noise."""
    return np.hstack([(part / noise).astype(np.float32) for part, noise in zip(parts, noises, strict=True)])


def _noise(rows: Array, pool: Array) -> float:
    """The standard deviation of a value around the row that is closest."""
    few: Array = rows[:SOME].astype(np.float32)
    _, distance = nearest(few, pool.astype(np.float32), 2)
    apart = float(np.sqrt(np.median(distance[:, 0]) / few.shape[1]))
    return max(apart, LEAST * float(pool.std()))


def _closest(rows: Array, pool: Array, rarity: Array | None = None) -> Ids:
    """Of rows in units of their noise, a token's rarity is twice its root away."""
    if rarity is not None:
        rows, pool = np.pad(rows, ((0, 0), (0, 1))), np.hstack((pool, np.sqrt(2 * rarity)[:, None]))
    return nearest(rows.astype(np.float32), pool.astype(np.float32))[0]
