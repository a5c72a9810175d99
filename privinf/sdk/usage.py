"""What queries and passes took, added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from privinf.sdk.outcomes import Stats


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds by the client's clock, counts per party; offline and online apart.

    `online_bytes` are sent by one party in one direction; `offline_bytes` are the preparations of both.
    """

    rounds: int = 0
    seconds: float = 0.0
    online_seconds: float = 0.0
    offline_seconds: float = 0.0
    prepare_seconds: float = 0.0
    online_bytes: int = 0
    offline_bytes: int = 0
    query_bytes: int = 0

    def counting(self, several: Iterable[Stats]) -> Self:
        """With some more of them."""
        took = self
        for one in several:
            slowest = max(one.parties, key=lambda party: party.online_seconds)
            took = replace(
                took,
                rounds=took.rounds + slowest.rounds,
                seconds=took.seconds + one.seconds,
                online_seconds=took.online_seconds + slowest.online_seconds,
                offline_seconds=took.offline_seconds + max(party.offline_seconds for party in one.parties),
                prepare_seconds=took.prepare_seconds + max(party.prepare_seconds for party in one.parties),
                online_bytes=took.online_bytes + max(party.online_bytes for party in one.parties),
                offline_bytes=took.offline_bytes + sum(party.preparation_bytes for party in one.parties),
                query_bytes=took.query_bytes + one.query_bytes,
            )
        return took
