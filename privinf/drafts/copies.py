"""What followed the last tokens when they came before in the same text: the best guess where a text repeats itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from privinf.drafts.guesses import Guesses

# How often the continuation of a run of 1, 2, 3 or 4 tokens is right: rough, as only the order of guesses counts.
TRUST = (0.35, 0.6, 0.8, 0.9)
FADE = 0.9  # an occurrence counts so much of the one behind it


def copied(ids: Sequence[int], guesses: Guesses) -> None:
    """Add what followed earlier occurrences of the last tokens, those of the longest run first."""
    found = list(zip(TRUST, matches(ids, len(TRUST)), strict=False))
    for trust, starts in reversed(found):
        weights: dict[int, float] = defaultdict(float)
        for age, start in enumerate(reversed(starts.tolist())):
            weights[int(ids[start])] += FADE**age
        guesses.add(trust, weights, sum(weights.values()))


def matches(ids: Sequence[int], longest: int) -> Iterator[npt.NDArray[np.int64]]:
    """The places behind earlier occurrences of the last token, of the last two, and so on while there are any."""
    text = np.asarray(ids, dtype=np.int64)
    starts = np.arange(1, len(text))
    for size in range(1, longest + 1):
        starts = starts[starts >= size]
        if len(starts):
            starts = starts[text[starts - size] == text[-size]]
        if not len(starts):
            return
        yield starts
