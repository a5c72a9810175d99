"""Opened scores about the middle of their ring, lowered where a row may not see: secretly, publicly, or not at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privinf.protocols import ring
from privinf.protocols.masked.wires import Wire, derive
from privinf.protocols.ring import U64


def hidden(
    scores: Wire, pads: Wire | None, public: npt.NDArray[np.bool_] | None, lower: int, offset: int
) -> Wire:
    """Scores (batch, heads, rows, slots) and `offset`, and `lower` once for each slot that is hidden; local.

    pads: 1 for a slot of padding (batch, 1, 1, slots). public: (rows, slots), where what a row may not see is known; of
    more rows it is the last ones that count.
    A row always sees itself: one of padding, with no prefix before it, would else see all that it must not. Where
    padding counts must not depend on what the dealer does not know, as drafts that branch or are rejected: it does
    for slots before a row's own. Those that are hidden publicly are no padding, as all rows of a prompt stay.
    """
    rows, slots = scores.shape[-2:]
    if public is None:
        return _lowered(scores, pads, _word(lower), _word(offset))
    before = np.tri(rows, slots, slots - rows - 1, dtype=np.uint64)
    out_of_sight = np.broadcast_to(public[-rows:, -slots:], (rows, slots))
    return _lowered(
        scores, pads, before * _word(lower), np.where(out_of_sight, _word(lower + offset), _word(offset))
    )


def _word(x: int) -> np.uint64:
    return np.uint64(x % (1 << ring.MAX_BITS))


def _lowered(scores: Wire, pads: Wire | None, by: U64 | np.uint64, everywhere: U64 | np.uint64) -> Wire:
    """Scores and `everywhere`, and `by` for slots of padding."""
    bits, slots = scores.bits, scores.shape[-1]

    def moved(v: U64) -> U64:
        return ring.low(v + everywhere, bits)

    def padded(v: U64, p: U64) -> U64:
        return ring.low(v + p[..., -slots:] * by, bits)

    where = scores.shape, bits, scores.scale
    if pads is None:
        return derive([scores], *where, public=moved, mask=lambda d: d)
    return derive([scores, pads], *where, public=lambda v, p: padded(moved(v), p), mask=padded)
