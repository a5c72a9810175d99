"""A judge that knows every architecture's accuracy at once, and a search over three layers of two heads."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from privinf.errors import ModelError
from privinf.search.space import RICH, Space
from privinf.search.storage import joined, study
from privinf.search.trials import Bill, Report, Rules, Worker
from privinf.train.architecture import Architecture
from privinf.train.prices import Price

EPOCHS = 4
SPACE = Space(2, ((0.9, 0.2), (0.4, 0.6), (0.5, 0.1)), (Price(1.0, 0.25),) * 3)


def accuracy(architecture: Architecture) -> float:
    """The first layer's heads are worth the most."""
    worth = [0.2, 0.05, 0.03]
    return 0.4 + sum(w * row.count(RICH) for w, row in zip(worth, architecture.heads, strict=True))


class Judge:
    """Counts what it trains; an architecture named in `broken` fits no ring."""

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.trained: list[str] = []
        self._broken = broken

    def bill(self, architecture: Architecture) -> Bill:
        if architecture.name in self._broken:
            raise ModelError("layer0.attn: values too large")
        counts = [row.count(RICH) for row in architecture.heads]
        return Bill(1.0 + sum(map(Price(1.0, 0.25).of, counts)), {"rounds": 10.0})

    def train(self, architecture: Architecture, report: Report) -> float | None:
        self.trained.append(architecture.name)
        whole = accuracy(architecture)
        seen: list[float] = []
        for epoch in range(EPOCHS):
            seen.append(whole * (epoch + 1) / EPOCHS)
            if not report(seen):
                return None
        return whole


def main() -> None:
    """Joins the search at an address."""
    Worker(study(joined(sys.argv[1])), SPACE, Judge(), Rules(trials=int(sys.argv[2]))).work()


if __name__ == "__main__":
    main()
