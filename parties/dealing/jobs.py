"""One preparation at the dealer: generated once, delivered to both parties through bounded pipes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from privinf.config import DealerConfig
from privinf.parties.dealing.delivery import Delivery, Report, stated
from privinf.parties.dealing.table import Table
from privinf.parties.served import QUERIES, served
from privinf.protocols.contract import DealerQueries, QueryShape


class Job(Delivery):
    """A preparation that was ordered: it is dealt once both parties have come, and ends when both have it."""

    def __init__(
        self, queries: DealerQueries, shape: QueryShape, order: bytes, config: DealerConfig, report: Report
    ) -> None:
        super().__init__(config, "preparation", report)
        self.order, self.sizes = order, queries.sizes(shape)
        self._queries, self._shape = queries, shape
        self._delivered: set[int] = set()

    def take(self, party: int) -> Iterator[bytes]:
        """Return the messages of one party: its seed, its preparation, the digest of that. Works once."""
        if self.come(party):
            self.begin(self._generate)
        return stated(iter(self._pipes[party]))

    def deliver(self, party: int) -> bool:
        """Note that a party has everything; return whether both have."""
        with self._changed:
            self._delivered.add(party)
            return len(self._delivered) == 2

    def lost(self, party: int) -> bool:
        """Return whether a party that is gone leaves the preparation undelivered."""
        return party not in self._delivered

    def _generate(self) -> None:
        self.deal(partial(self._queries.deal, self._shape, self.preparation_id), self.sizes)
        self.settle()  # a party that stops just before the end would hold its place
        for pipe in self._pipes:
            pipe.end()


class Jobs(Table[Job]):
    """The preparations that are created and not yet delivered."""

    def __init__(self, queries: DealerQueries | None, config: DealerConfig, report: Report) -> None:
        super().__init__(config.max_jobs, config.come_seconds, "preparing")
        self._queries, self._config, self._report = queries, config, report

    def create(self, shape: QueryShape, order: bytes) -> Job:
        """Draw a preparation's id; nothing is generated yet."""
        return self.add(Job(served(self._queries, QUERIES), shape, order, self._config, self._report))
