"""One generation at the dealer: pass after pass, as party 0 orders them, dealt to both parties at once.

Nothing of it is ever stored. A pass's preparation exists in the pipes and then in the memory of the parties; it is
read once because there is nothing to read it from a second time, so no log of what was spent is needed.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator

import grpc

from privinf.config import DealerConfig
from privinf.errors import PeerLost, PrivinfError, ProtocolError
from privinf.parties.frames import CHUNK
from privinf.parties.jobs import Report, program_failed
from privinf.parties.messages import order_message
from privinf.parties.pipes import Packer, Pipe, pack
from privinf.parties.table import Table
from privinf.protocols.program import (
    BOTH,
    ID_BYTES,
    SEED_BYTES,
    DealerProgram,
    DealerSession,
    Order,
    SessionShape,
)

END_OF_PASS = b""  # a party that reads on finds it, and does not wait for bytes that never come


class Dealing:
    """A generation that was begun: runs while both parties listen, and waits for orders as long as they do."""

    def __init__(self, session: DealerSession, limit: int, stall: float, report: Report) -> None:
        self.preparation_id, self.created = secrets.token_bytes(ID_BYTES), time.monotonic()
        self.passes = 0
        self._session, self._report = session, report
        self._pipes = (Pipe(limit, stall), Pipe(limit, stall))
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    @property
    def started(self) -> bool:
        """Whether a party has come for it: party 0 has, it was begun by its call and ends with that."""
        return True

    def start(self, orders: Iterator[Order]) -> None:
        """Begin to deal what party 0 orders."""
        threading.Thread(target=self._run, args=(orders,), name="deal", daemon=True).start()

    def take(self, party: int) -> Pipe:
        """Return the messages of one party, once."""
        with self._lock:
            if party in self._taken:
                raise ProtocolError("this generation already has its two parties")
            self._taken.add(party)
        return self._pipes[party]

    def abort(self, error: PrivinfError) -> None:
        """End the streams of both parties."""
        for pipe in self._pipes:
            pipe.end(error)

    def _run(self, orders: Iterator[Order]) -> None:
        try:
            for order in orders:
                self._deal(order)
            self.abort(PeerLost("party0 orders no more"))
        except PrivinfError as error:
            self.abort(error)
        except grpc.RpcError:
            self.abort(PeerLost("party0 left the generation"))
        except Exception as error:
            self._report(error)
            self.abort(program_failed(error))

    def _deal(self, order: Order) -> None:
        """Deal one pass to both; the wait for the next order begins when they have taken all of it."""
        seeds = secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES)
        header = order_message(order).SerializeToString()
        packers = [Packer(pipe.put) for pipe in self._pipes]
        for pipe, seed in zip(self._pipes, seeds, strict=True):
            pipe.put(header)
            pipe.put(seed)
        for to, buffer in self._session.deal(order, seeds):
            pack(packers if to == BOTH else packers[to : to + 1], buffer)
        for packer, pipe in zip(packers, self._pipes, strict=True):
            packer.finish()
            pipe.put(END_OF_PASS)
        for pipe in self._pipes:
            pipe.settle()
        self.passes += 1


class Dealings(Table[Dealing]):
    """The generations that are under way."""

    def __init__(self, program: DealerProgram, config: DealerConfig, report: Report) -> None:
        super().__init__(config.max_sessions, config.stall_seconds, "dealing to")
        self._program, self._config, self._report = program, config, report

    def begin(self, shape: SessionShape) -> Dealing:
        """Begin a generation; nothing is dealt yet."""
        config = self._config
        limit = config.queue_chunks * CHUNK
        session = self._program.begin(shape)
        return self.add(Dealing(session, limit, config.stall_seconds, self._report))
