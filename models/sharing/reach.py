"""What any token at any place brings into the first layer: exact over whole tables, whether a text was seen or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privinf.models.fold import F64

CHUNK = 2048  # tokens at a time


@dataclass(frozen=True)
class Reach:
    """The largest magnitude of a number, and the smallest and the largest mean square of a row that is not zero."""

    largest: float
    low: float
    high: float


def reach(tokens: F64, places: F64 | None = None) -> Reach:
    """Of every token's row, at every place where there is a table of them."""
    others = np.zeros((1, tokens.shape[1])) if places is None else places
    largest = np.maximum(abs(tokens.max(0) + others.max(0)), abs(tokens.min(0) + others.min(0))).max()
    low, high = np.inf, 0.0
    for start in range(0, len(tokens), CHUNK):
        square = _squares(tokens[start : start + CHUNK], others)
        high = max(high, float(square.max()))
        low = min(low, float(square[square > 0].min(initial=np.inf)))
    return Reach(float(largest), low, high)


def _squares(tokens: F64, places: F64) -> F64:
    """Mean squares of all sums of a token's and a place's row, (tokens, places)."""
    apart = (tokens * tokens).sum(-1)[:, None] + (places * places).sum(-1)
    square: F64 = (apart + 2 * tokens @ places.T) / tokens.shape[1]
    return square.clip(0)
