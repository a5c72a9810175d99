"""One preparation at the dealer: generated once, delivered to both parties through bounded pipes."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from privinf.config import DealerConfig
from privinf.errors import DeadlineExceeded, Overloaded, PartyError, PrivinfError, ProtocolError
from privinf.parties.frames import CHUNK
from privinf.protocols.program import BOTH, ID_BYTES, SEED_BYTES, Buffer, DealerProgram, QueryShape

_SMALL = CHUNK // 4  # from here on a message of its own costs less than gathering
Report = Callable[[BaseException], None]  # told of a failure that is a fault of the program


class Pipe:
    """Chunks on their way to one party: `put` waits while it holds enough, `get` while it is empty."""

    def __init__(self, limit: int, stall_seconds: float) -> None:
        self._limit, self._stall = limit, stall_seconds  # in bytes, one chunk beyond it
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: PrivinfError | None = None

    def put(self, chunk: bytes) -> None:
        """Add a chunk; raise DeadlineExceeded if nobody makes room for it in time."""
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._held < self._limit or self._error is not None, self._stall
            )
            if self._error is not None:
                raise self._error
            if not room:
                raise DeadlineExceeded("a party does not fetch its preparation", phase="offline")
            self._chunks.append(chunk)
            self._held += len(chunk)
            self._changed.notify_all()

    def end(self, error: PrivinfError | None = None) -> None:
        """Close it; with an error, drop what is left."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            if self._error is not None:
                self._chunks.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._get()) is not None:
            yield chunk

    def _get(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._chunks) or self._ended)
            if self._error is not None:
                raise self._error
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._held -= len(chunk)
            self._changed.notify_all()
            return chunk


class Packer:
    """Gathers small buffers of one party into messages of at most CHUNK bytes, and counts all of them."""

    def __init__(self, put: Callable[[bytes], None], total: int) -> None:
        self._put, self._left = put, total
        self._pending = bytearray()

    def gather(self, piece: memoryview) -> None:
        """Take a piece of less than CHUNK, which is copied before this returns."""
        if len(self._pending) + len(piece) > CHUNK:
            self._flush()
        self._count(len(piece))
        self._pending += piece

    def send(self, chunk: bytes) -> None:
        """Send a whole chunk after what was gathered."""
        self._flush()
        self._count(len(chunk))
        self._put(chunk)

    def finish(self) -> None:
        """Send the rest."""
        if self._left:
            raise ProtocolError("the program deals fewer bytes than its sizes say")
        self._flush()

    def _count(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            raise ProtocolError("the program deals more bytes than its sizes say")

    def _flush(self) -> None:
        if self._pending:
            self._put(bytes(self._pending))
            self._pending = bytearray()


def pack(packers: Sequence[Packer], buffer: Buffer) -> None:
    """Cut a buffer for all of `packers`: what is large is copied once, whoever gets it."""
    view = memoryview(buffer).cast("B")
    for offset in range(0, len(view), CHUNK):
        piece = view[offset : offset + CHUNK]
        chunk = bytes(piece) if len(piece) >= _SMALL else None
        for packer in packers:
            if chunk is None:
                packer.gather(piece)
            else:
                packer.send(chunk)


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
            self.abort(PartyError(f"the dealer's program failed with {type(error).__name__}"))


class Jobs:
    """The preparations that are created and not yet delivered; a bounded number, each for a bounded time."""

    def __init__(self, program: DealerProgram, config: DealerConfig, report: Report) -> None:
        self._program, self._config, self._report = program, config, report
        self._lock = threading.Lock()
        self._jobs: dict[bytes, Job] = {}

    def create(self, shape: QueryShape) -> Job:
        """Draw a preparation's id; nothing is generated yet."""
        config = self._config
        limit = config.queue_chunks * CHUNK
        job = Job(self._program, shape, limit, config.stall_seconds, self._report)
        with self._lock:
            self._expire()
            if len(self._jobs) >= self._config.max_jobs:
                raise Overloaded(f"the dealer is already preparing {self._config.max_jobs}")
            self._jobs[job.preparation_id] = job
        return job

    def find(self, preparation_id: bytes) -> Job:
        """Return a job that is still to be delivered."""
        with self._lock:
            self._expire()
            job = self._jobs.get(preparation_id)
        if job is None:
            raise ProtocolError("this preparation is unknown here, or no longer to be had")
        return job

    def forget(self, job: Job, error: PrivinfError | None = None) -> None:
        """Drop a job that is delivered, or that failed with `error`."""
        if error is not None:
            job.abort(error)
        with self._lock:
            self._jobs.pop(job.preparation_id, None)

    def close(self) -> None:
        """Abort whatever is under way."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self.forget(job, PartyError("the dealer is stopping"))

    def _expire(self) -> None:
        oldest = time.monotonic() - self._config.stall_seconds
        for job in [job for job in self._jobs.values() if not job.started and job.created < oldest]:
            del self._jobs[job.preparation_id]
