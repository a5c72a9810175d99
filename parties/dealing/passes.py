"""One generation at the dealer: pass after pass, as party 0 orders them, dealt to both parties at once.

Nothing of it is ever stored. A pass's preparation exists in the pipes and then in the memory of the parties; it is
read once because there is nothing to read it from a second time, so no log of what was spent is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from privinf.config import DealerConfig
from privinf.errors import PeerLost
from privinf.parties.dealing.delivery import END_OF_PASS, Delivery, Report, stated
from privinf.parties.dealing.table import Table
from privinf.parties.rpc.messages import order_message
from privinf.parties.rpc.status import attribute
from privinf.parties.served import SESSIONS, served
from privinf.protocols.contract import DealerSession, DealerSessions, Order, SessionShape


class Dealing(Delivery):
    """A generation that was begun: runs once both parties have come, and waits for orders as long as they listen."""

    overdue = False  # it is not forgotten by itself: party 0's call has begun it, and ends it

    def __init__(self, session: DealerSession, config: DealerConfig, report: Report) -> None:
        super().__init__(config, "generation", report)
        self.passes, self._session = 0, session

    def start(self, orders: Iterator[Order]) -> None:
        """Begin to deal what party 0 orders."""
        self.begin(partial(self._run, orders))

    def take(self, party: int) -> Iterator[bytes]:
        """Return the messages of one party, once: of each pass its order, and what is stated in `_stated`."""
        self.come(party)
        return _stated(iter(self._pipes[party]))

    def _run(self, orders: Iterator[Order]) -> None:
        for order in orders:
            self._deal(order)
        self.abort(attribute(PeerLost("party0 orders no more"), "party0"))

    def _deal(self, order: Order) -> None:
        """Deal one pass to both; the wait for the next order begins when they have taken all of it."""
        header = order_message(order).SerializeToString()
        for pipe in self._pipes:
            pipe.put(header)
        self.deal(partial(self._session.deal, order, self.preparation_id), (None, None))
        for pipe in self._pipes:
            pipe.put(END_OF_PASS)
        self.settle()
        self.passes += 1


def _stated(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Let passes by, each an order, a seed, its preparation and END_OF_PASS, and state the digest after each."""
    for order in messages:
        yield order
        yield from stated(messages)


class Dealings(Table[Dealing]):
    """The generations that are under way."""

    def __init__(self, sessions: DealerSessions | None, config: DealerConfig, report: Report) -> None:
        super().__init__(config.max_sessions, config.come_seconds, "dealing to")
        self._sessions, self._config, self._report = sessions, config, report

    def begin(self, shape: SessionShape) -> Dealing:
        """Begin a generation; nothing is dealt yet."""
        return self.add(Dealing(served(self._sessions, SESSIONS).begin(shape), self._config, self._report))
