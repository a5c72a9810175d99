"""What several sources say of the next token, each of what the ones before it left open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Guesses:
    """Probabilities by token; `left` is what no source has claimed yet."""

    shares: dict[int, float] = field(default_factory=dict, repr=False)
    left: float = 1.0

    def add(self, trust: float, weights: Mapping[int, float], total: float) -> None:
        """A source that is right with probability `trust`, and then as `weights` of `total` say."""
        for token, weight in weights.items():
            self.shares[token] = self.shares.get(token, 0.0) + self.left * trust * weight / total
        self.left *= 1 - trust

    def best(self, most: int) -> list[int]:
        """The likeliest tokens first; of equally likely ones the smaller."""
        return sorted(self.shares, key=lambda token: (-self.shares[token], token))[:most]
