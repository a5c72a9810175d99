"""What a draft is to whoever asks it; no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Draft(Protocol):
    """Proposes what may follow; it must not draw at random, or `verify` would bend the distribution."""

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        """At most `count` tokens that may follow `ids`, those of prompt and answer."""
