"""Rounds and bytes: what gates declare, what parties count, and what a network makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """Rounds, online bytes of one party in one direction, and preparation bytes of party 0 and party 1.

    `precomputed` are the bytes of what each party computes ahead of a query and stores beside its preparation.
    """

    rounds: int = 0
    online: int = 0
    prep0: int = 0
    prep1: int = 0
    precomputed: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.rounds + other.rounds,
            self.online + other.online,
            self.prep0 + other.prep0,
            self.prep1 + other.prep1,
            self.precomputed + other.precomputed,
        )


@dataclass
class Tally:
    """Costs by scope, in program order."""

    by_scope: dict[str, Cost] = field(default_factory=dict)

    def add(self, scope: str, cost: Cost) -> None:
        self.by_scope[scope] = self.by_scope.get(scope, Cost()) + cost

    def total(self) -> Cost:
        return sum(self.by_scope.values(), Cost())

    def top(self) -> dict[str, Cost]:
        """Costs by outermost scope: layer by layer."""
        out: dict[str, Cost] = {}
        for scope, cost in self.by_scope.items():
            head = scope.split("/")[0]
            out[head] = out.get(head, Cost()) + cost
        return out


@dataclass(frozen=True)
class Network:
    """A link between the parties: round-trip time in seconds, bytes per second each way."""

    rtt: float
    bandwidth: float

    def seconds(self, cost: Cost) -> float:
        """Time on the wire alone: each round is one one-way delay, as both parties push at once."""
        return cost.rounds * self.rtt / 2 + cost.online / self.bandwidth


NETWORKS = {
    "loopback": Network(0.0006, 1.0e9),
    "lan": Network(0.001, 3e9 / 8),
    "wan": Network(0.020, 400e6 / 8),
}
