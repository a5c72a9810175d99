"""One preparation at the dealer: generated once, delivered to both parties through bounded pipes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from privinf.config import DealerConfig
from privinf.errors import PartyError, PrivinfError, ProtocolError
from privinf.parties.frames import CHUNK
from privinf.parties.pipes import Packer, Pipe, pack
from privinf.parties.table import Table
from privinf.protocols.program import BOTH, ID_BYTES, SEED_BYTES, DealerProgram, QueryShape

Report = Callable[[BaseException], None]  # told of a failure that is a fault of the program


class Job:
    """A preparation that was created: begins with the first party that fetches, ends when both have it."""

    def __init__(
        self, program: DealerProgram, shape: QueryShape, limit: int, stall: float, report: Report
    ) -> None:
        self.preparation_id = secrets.token_bytes(ID_BYTES)
        self.sizes, self.created = program.sizes(shape), time.monotonic()
        self._program, self._shape, self._report = program, shape, report
        self._pipes = (Pipe(limit, stall), Pipe(limit, stall))
        self._lock = threading.Lock()
        self._fetched: set[int] = set()
        self._delivered: set[int] = set()

    @property
    def started(self) -> bool:
        """Whether a party has come for it."""
        return bool(self._fetched)

    def take(self, party: int) -> Pipe:
        """Return the messages of one party: its seed, then its preparation. Works once."""
        with self._lock:
            if party in self._fetched:
                raise ProtocolError("this preparation was already fetched")
            if not self._fetched:
                threading.Thread(target=self._generate, name="deal", daemon=True).start()
            self._fetched.add(party)
        return self._pipes[party]

    def deliver(self, party: int) -> bool:
        """Note that a party has everything; return whether both have."""
        with self._lock:
            self._delivered.add(party)
            return len(self._delivered) == 2

    def lost(self, party: int) -> bool:
        """Return whether a party that is gone leaves the preparation undelivered."""
        return party not in self._delivered

    def abort(self, error: PrivinfError) -> None:
        """End the streams of both parties: what one of them has is worth nothing."""
        for pipe in self._pipes:
            pipe.end(error)

    def _generate(self) -> None:
        try:
            seeds = secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES)
            packers = [Packer(pipe.put, size) for pipe, size in zip(self._pipes, self.sizes, strict=True)]
            for pipe, seed in zip(self._pipes, seeds, strict=True):
                pipe.put(seed)
            for to, buffer in self._program.deal(self._shape, seeds):
                pack(packers if to == BOTH else packers[to : to + 1], buffer)
            for packer, pipe in zip(packers, self._pipes, strict=True):
                packer.finish()
                pipe.end()
        except PrivinfError as error:
            self.abort(error)
        except Exception as error:
            self._report(error)
            self.abort(program_failed(error))


class Jobs(Table[Job]):
    """The preparations that are created and not yet delivered."""

    def __init__(self, program: DealerProgram, config: DealerConfig, report: Report) -> None:
        super().__init__(config.max_jobs, config.stall_seconds, "preparing")
        self._program, self._config, self._report = program, config, report

    def create(self, shape: QueryShape) -> Job:
        """Draw a preparation's id; nothing is generated yet."""
        config = self._config
        limit = config.queue_chunks * CHUNK
        return self.add(Job(self._program, shape, limit, config.stall_seconds, self._report))


def program_failed(error: Exception) -> PartyError:
    """Return what parties are told of a program's own exception: its kind alone, the text might hold a value."""
    return PartyError(f"the dealer's program failed with {type(error).__name__}")
