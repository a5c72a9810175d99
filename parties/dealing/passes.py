"""One generation at the dealer: pass after pass, as party 0 orders them, dealt to both parties at once.

Nothing of it is ever stored. A pass's preparation exists in the pipes and then in the memory of the parties; it is
read once because there is nothing to read it from a second time, so no log of what was spent is needed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial

from privinf.config import DealerConfig
from privinf.errors import PeerLost
from privinf.parties.dealing.jobs import Delivery, Report
from privinf.parties.dealing.pipes import Packer, pack
from privinf.parties.dealing.table import Table
from privinf.parties.rpc.messages import order_message
from privinf.parties.served import SESSIONS, served
from privinf.parties.stock.digest import Tally
from privinf.protocols.contract import (
    ALL,
    SEED_BYTES,
    DealerSession,
    DealerSessions,
    Order,
    SessionShape,
)

END_OF_PASS = b""  # a party that reads on finds it, and does not wait for bytes that never come


class Dealing(Delivery):
    """A generation that was begun: runs once both parties have come, and waits for orders as long as they listen."""

    order = b""

    def __init__(self, session: DealerSession, config: DealerConfig, report: Report) -> None:
        super().__init__(config, "generation", report)
        self.passes, self._session = 0, session

    @property
    def overdue(self) -> bool:
        """Whether it is to be forgotten by itself: party 0's call has begun it, and ends it."""
        return False

    def start(self, orders: Iterator[Order]) -> None:
        """Begin to deal what party 0 orders."""
        self.begin(partial(self._run, orders))

    def take(self, party: int) -> Iterator[bytes]:
        """Return the messages of one party, once: of each pass its order, and what is stated in `_stated`."""
        self._meeting.come(party)
        return _stated(iter(self._pipes[party]))

    def _run(self, orders: Iterator[Order]) -> None:
        self._meeting.wait()
        for order in orders:
            self._deal(order)
        self.abort(PeerLost("party0 orders no more"))

    def _deal(self, order: Order) -> None:
        """Deal one pass to both; the wait for the next order begins when they have taken all of it."""
        seeds = secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES)
        header = order_message(order).SerializeToString()
        packers = [Packer(pipe.put) for pipe in self._pipes]
        for pipe, seed in zip(self._pipes, seeds, strict=True):
            pipe.put(header)
            pipe.put(seed)
        for to, buffer in self._session.deal(order, self.preparation_id, seeds):
            pack(packers if to == ALL else packers[to : to + 1], buffer)
        for packer, pipe in zip(packers, self._pipes, strict=True):
            packer.finish()
            pipe.put(END_OF_PASS)
        self.settle()
        self.passes += 1


def _stated(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Let passes by, each an order, a seed, its preparation and END_OF_PASS, and state the digest after each."""
    for order in messages:
        yield order
        seed = next(messages)
        yield seed
        tally = Tally(seed)
        for message in messages:
            yield message
            if message == END_OF_PASS:
                break
            tally.update(message)
        yield tally.digest()


class Dealings(Table[Dealing]):
    """The generations that are under way."""

    def __init__(self, sessions: DealerSessions | None, config: DealerConfig, report: Report) -> None:
        super().__init__(config.max_sessions, config.come_seconds, "dealing to")
        self._sessions, self._config, self._report = sessions, config, report

    def begin(self, shape: SessionShape) -> Dealing:
        """Begin a generation; nothing is dealt yet."""
        return self.add(Dealing(served(self._sessions, SESSIONS).begin(shape), self._config, self._report))
