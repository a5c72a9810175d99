"""One preparation at the dealer: generated once, delivered to both parties through bounded pipes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator

import grpc

from privinf.config import DealerConfig
from privinf.errors import PartyError, PeerLost, PrivinfError
from privinf.parties.dealing.pipes import Packer, Pipe, pack
from privinf.parties.dealing.table import Meeting, Table
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.served import QUERIES, served
from privinf.parties.stock.digest import Tally
from privinf.protocols.contract import ALL, ID_BYTES, SEED_BYTES, DealerQueries, QueryShape

Report = Callable[[BaseException], None]  # told of a failure that is a fault of the program


class Delivery:
    """What is dealt to both parties through bounded pipes, once both have come."""

    def __init__(self, config: DealerConfig, what: str, report: Report) -> None:
        self.preparation_id = secrets.token_bytes(ID_BYTES)
        limit = config.queue_chunks * CHUNK
        self._pipes = (Pipe(limit, config.stall_seconds), Pipe(limit, config.stall_seconds))
        self._meeting, self._report = Meeting(config.come_seconds, what), report

    def abort(self, error: PrivinfError) -> None:
        """End the streams of both parties: what one of them has is worth nothing."""
        for pipe in self._pipes:
            pipe.end(error)
        self._meeting.end()

    def settle(self) -> None:
        """Wait until both have taken all."""
        for pipe in self._pipes:
            pipe.settle()

    def begin(self, work: Callable[[], None]) -> None:
        """Deal in a thread of its own; a failure is both parties'."""
        threading.Thread(target=self._guarded, args=(work,), name="deal", daemon=True).start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except PrivinfError as error:
            self.abort(error)
        except grpc.RpcError:
            self.abort(PeerLost("party0 left the generation"))
        except Exception as error:  # parties are told its kind alone: the text might hold a value
            self._report(error)
            self.abort(PartyError(f"the dealer's program failed with {type(error).__name__}"))


class Job(Delivery):
    """A preparation that was ordered: it is dealt once both parties have come, and ends when both have it."""

    def __init__(
        self, queries: DealerQueries, shape: QueryShape, order: bytes, config: DealerConfig, report: Report
    ) -> None:
        super().__init__(config, "preparation", report)
        self.order, self.sizes = order, queries.sizes(shape)
        self._queries, self._shape = queries, shape
        self._lock = threading.Lock()
        self._delivered: set[int] = set()

    @property
    def overdue(self) -> bool:
        """Whether a party has not come in time."""
        return self._meeting.overdue

    def take(self, party: int) -> Iterator[bytes]:
        """Return the messages of one party: its seed, its preparation, the digest of that. Works once."""
        if self._meeting.come(party):
            self.begin(self._generate)
        return self._messages(party)

    def deliver(self, party: int) -> bool:
        """Note that a party has everything; return whether both have."""
        with self._lock:
            self._delivered.add(party)
            return len(self._delivered) == 2

    def lost(self, party: int) -> bool:
        """Return whether a party that is gone leaves the preparation undelivered."""
        return party not in self._delivered

    def _messages(self, party: int) -> Iterator[bytes]:
        """The party that is first waits here; if the other does not come, it is over for both."""
        try:
            self._meeting.wait()
        except PrivinfError as error:
            self.abort(error)
        yield from stated(iter(self._pipes[party]))

    def _generate(self) -> None:
        seeds = secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES)
        packers = [Packer(pipe.put, size) for pipe, size in zip(self._pipes, self.sizes, strict=True)]
        for pipe, seed in zip(self._pipes, seeds, strict=True):
            pipe.put(seed)
        for to, buffer in self._queries.deal(self._shape, self.preparation_id, seeds):
            pack(packers if to == ALL else packers[to : to + 1], buffer)
        for packer in packers:
            packer.finish()
        self.settle()  # a party that stops just before the end would hold its place
        for pipe in self._pipes:
            pipe.end()


def stated(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Let a seed and what follows it pass, and state the digest of the latter at the end."""
    seed = next(messages)
    yield seed
    tally = Tally(seed)
    for message in messages:
        tally.update(message)
        yield message
    yield tally.digest()


class Jobs(Table[Job]):
    """The preparations that are created and not yet delivered."""

    def __init__(self, queries: DealerQueries | None, config: DealerConfig, report: Report) -> None:
        super().__init__(config.max_jobs, config.come_seconds, "preparing")
        self._queries, self._config, self._report = queries, config, report

    def create(self, shape: QueryShape, order: bytes) -> Job:
        """Draw a preparation's id; nothing is generated yet."""
        return self.add(Job(served(self._queries, QUERIES), shape, order, self._config, self._report))
