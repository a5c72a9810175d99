"""Has the passes of one generation prepared ahead of the client's asking, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from privinf.errors import InputError, MismatchError, PartyError, PrivinfError, ProtocolError
from privinf.parties.logs import Log
from privinf.parties.rpc.life import Life
from privinf.parties.stock.dealt import DealtStream
from privinf.protocols.contract import Order, PartySession, PassIntake


@dataclass
class Prepared:
    """What one pass needs besides its query; it dies with the pass. It is handed out while it still comes."""

    order: Order
    content: PassIntake = field(repr=False)
    nbytes: int = 0  # once it is whole
    seconds: float = 0.0  # from its order, or the first word of it, until it was whole
    whole: bool = False  # all of it has come, and is what was dealt


class Feeder:
    """Keeps at most `ahead` passes ready or on their way; party 0 orders them, party 1 is told by the dealer.

    One more, as large as the last, is ordered only while those that are ready stay within `most_bytes`; one always is.
    A pass may be evaluated while it comes; while one is, no more than about `most_bytes` lie unused.
    """

    def __init__(
        self,
        session: PartySession,
        dealt: DealtStream,
        life: Life,
        leads: bool,
        ahead: int,
        most_bytes: int,
        log: Log,
    ) -> None:
        self._session, self.dealt, self._life, self._log = session, dealt, life, log
        self._leads, self._ahead, self._most_bytes, self._due = leads, ahead, most_bytes, 0
        self._ready: deque[Prepared] = deque()
        self._coming: PassIntake | None = None
        self._full: InputError | None = None
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin to have passes prepared."""
        self._life.on_end(self._fail)
        self._thread.start()

    def take(self) -> Prepared:
        """Wait for the next pass and hand it out; nobody else has it any more."""
        life = self._life
        with life.changed:
            life.wait_in_time(lambda: bool(self._ready) or self._full is not None, "offline")
            if self._full is not None and not self._ready:
                raise self._full
            life.changed.notify_all()
            return self._ready.popleft()

    def settle(self, prepared: Prepared) -> None:
        """Wait until all of a pass has come and was found to be what was dealt: no answer leaves before."""
        self._life.wait_in_time(lambda: prepared.whole, "offline")

    def _run(self) -> None:
        try:
            while self._full is None:
                self._life.wait(self._has_room)
                self._feed()
        except PrivinfError as error:
            self._life.end(error)
        except Exception as error:
            self._log.failure("feeder", error)
            self._life.end(PartyError(f"the program failed ahead with {type(error).__name__}"))

    def _has_room(self) -> bool:
        ready = self._ready
        if not ready:
            return True
        within = sum(pass_.nbytes for pass_ in ready) + ready[-1].nbytes <= self._most_bytes
        return len(ready) < self._ahead and (within or not self._leads)

    def _feed(self) -> None:
        began, ordered = time.monotonic(), self._order() if self._leads else None
        if self._full is not None:
            return
        order, seed = self.dealt.begin()
        if ordered is None:
            began = time.monotonic()  # an order may be long in coming
        if order.index != self._due:
            raise ProtocolError(f"the dealer deals pass {order.index} where {self._due} is due")
        if ordered not in (None, order):
            raise MismatchError("the dealer relays another order than it was given")
        self._coming = self._session.prepare(order, self.dealt.preparation_id, seed)
        prepared = Prepared(order, self._coming)
        self._offer(prepared)
        prepared.content.fill(self.dealt, self._most_bytes)
        self.dealt.end()
        self._complete(prepared, time.monotonic() - began)

    def _fail(self) -> None:
        """Wake an evaluation that waits for what will not come."""
        if self._coming is not None and self._life.error is not None:
            self._coming.fail(self._life.error)

    def _complete(self, prepared: Prepared, seconds: float) -> None:
        with self._life.changed:
            prepared.nbytes, prepared.seconds, prepared.whole = self.dealt.nbytes, seconds, True
            self._life.changed.notify_all()

    def _order(self) -> Order | None:
        """Order the next pass; where none can follow those that are ordered, whoever takes it is told why."""
        try:
            order = self._session.order()
        except InputError as error:
            with self._life.changed:
                self._full = error
                self._life.changed.notify_all()
            return None
        self.dealt.order(order)
        return order

    def _offer(self, prepared: Prepared) -> None:
        with self._life.changed:
            self._due += 1
            self._ready.append(prepared)
            self._life.changed.notify_all()
