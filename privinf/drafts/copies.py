"""What followed the last tokens when they came before in the same text: the best guess where a text repeats itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from privinf.drafts.guesses import Guesses

# How often the continuation of a run of 1, 2, 3 or 4 tokens is right: rough, as only the order of guesses counts.
TRUST = (0.35, 0.6, 0.8, 0.9)
FADE = 0.9  # an occurrence counts so much of the one behind it


def copied(ids: Sequence[int], guesses: Guesses) -> None:
    """Add what followed earlier occurrences of the last tokens, those of the longest run first."""
    text = np.asarray(ids, dtype=np.int64)
    starts, found = np.arange(1, len(text)), []
    for size, trust in enumerate(TRUST, 1):
        starts = starts[starts >= size]
        starts = starts[text[starts - size] == text[len(text) - size]] if len(starts) else starts
        if not len(starts):
            break
        found.append((trust, text[starts].tolist()))
    for trust, following in reversed(found):
        weights: dict[int, float] = defaultdict(float)
        for age, token in enumerate(reversed(following)):
            weights[token] += FADE**age
        guesses.add(trust, weights, sum(weights.values()))
