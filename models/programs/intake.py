"""A pass's preparation at a party: one thread reads it as it is dealt, another evaluates it and waits for more."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from privinf.errors import PrivinfError, ProtocolError
from privinf.protocols.contract import Order, Source
from privinf.protocols.masked.ahead import Kept
from privinf.protocols.ring import U64, Shape

# A reader that is held back lets one more piece in after so long without a use: whatever the other roles wait for, it
# comes in the end, and memory grows slowly at worst.
PATIENCE = 1.0
# Follows the program through a preparation, and keeps what it computes ahead
Read = Callable[[Source, Kept], None]


class Stage:
    """The two threads of a session: one lets preparations in, the other uses them up.

    Each count is changed by one thread alone, and a flag is set before the one who waits looks again, so that a lock is
    taken only to wait or to wake: a pass has thousands of pieces.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._came = self._used = self._most = 0  # bytes
        self._evaluating = self._hungry = self._held_back = False
        self._error: PrivinfError | None = None
        self.waited = 0.0  # seconds, of the pass that is evaluated

    def came(self, nbytes: int) -> None:
        """Say, as the reader, that something lies there."""
        self._came += nbytes
        if self._hungry:
            self._hungry = False  # until it finds that this is not enough
            self._wake()

    def used(self, nbytes: int) -> None:
        """Say, as the evaluation, that it holds on to nothing of this."""
        self._used += nbytes
        if self._held_back and self._free():
            self._wake()

    def fail(self, error: PrivinfError) -> None:
        """Have whoever waits, now or later, raise this."""
        self._error = self._error or error
        self._wake()

    def begin(self) -> None:
        """An evaluation begins."""
        self._evaluating, self.waited = True, 0.0

    def end(self) -> None:
        """It is over, one way or the other."""
        self._evaluating = False
        self._wake()

    def admit(self, most: int) -> None:
        """Wait, as the reader, while a pass is evaluated and `most` bytes lie unused.

        Never while nothing is evaluated: a client may take its time, and the dealer would wait for us meanwhile.
        """
        self._most = most
        if self._free():
            return
        with self._changed:
            self._held_back, before = True, -1
            while not self._free() and before != self._used:
                before = self._used
                self._changed.wait(PATIENCE)
            self._held_back = False

    def due(self, there: Callable[[], bool]) -> None:
        """Wait, as the evaluation, until it is there; or raise what has failed."""
        if there():
            return
        began = time.monotonic()
        with self._changed:
            while self._starve(there):
                self._changed.notify_all()
                self._changed.wait()
            self._hungry = False
        self.waited += time.monotonic() - began
        if not there():
            assert self._error is not None
            raise self._error

    def _starve(self, there: Callable[[], bool]) -> bool:
        """Be hungry, then look once more: what comes in between wakes us."""
        self._hungry = True
        return not there() and self._error is None

    def _free(self) -> bool:
        idle = not self._evaluating or self._hungry or self._error is not None
        return idle or self._came - self._used < self._most

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Intake:
    """One pass: its order, what has come of its preparation, and what was computed of that ahead."""

    def __init__(self, order: Order, preparation: bytes, seed: bytes, read: Read, stage: Stage) -> None:
        self.order, self.preparation, self.seed = order, preparation, seed
        self.tape, self.notes = Tape(stage), Notes(stage)
        self._read, self._stage = read, stage
        self._whole = False

    def __repr__(self) -> str:
        return f"Intake({self.order})"  # not the seed, nor what was dealt

    @property
    def waited(self) -> float:
        """Seconds for which the evaluation has waited for the dealer."""
        return self._stage.waited

    def fill(self, prep: Source, most: int) -> None:
        """Read all of it; while a pass is evaluated, about `most` bytes are let in beyond what that has used."""
        self._read(_Recorder(prep, self.tape, partial(self._stage.admit, most)), self.notes)
        self._whole = True
        self._stage.came(0)

    def fail(self, error: PrivinfError) -> None:
        """Have the evaluation end with this where it waits for what will not come."""
        self._stage.fail(error)

    def close(self) -> None:
        """See, once it was evaluated, that all of it has come and was used."""
        self._stage.due(lambda: self._whole)
        if self.tape.left:
            raise ProtocolError(f"{self.tape.left} bytes of the preparation were not used")


class _Recorder:
    """Passes a preparation on as it comes, and keeps it."""

    def __init__(self, source: Source, tape: Tape, admit: Callable[[], None]) -> None:
        self._source, self._tape, self._admit = source, tape, admit

    def read(self, nbytes: int) -> memoryview:
        self._admit()
        piece = self._source.read(nbytes)
        self._tape.put(piece)
        return piece


class Tape:
    """A preparation in memory, read in program order and let go as it is read."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._pieces = stage, deque[memoryview]()

    def put(self, piece: memoryview) -> None:
        """Add what came."""
        if len(piece):
            self._pieces.append(piece)
            self._stage.came(len(piece))

    def read(self, nbytes: int) -> memoryview:
        """What was read when it came is mostly read in the same pieces again: those are not copied."""
        pieces = self._pieces
        if nbytes:
            self._stage.due(lambda: bool(pieces))
        if pieces and len(pieces[0]) == nbytes:
            self._stage.used(nbytes)
            return pieces.popleft()
        copy, filled = memoryview(bytearray(nbytes)), 0
        while filled < nbytes:
            piece = self._next(nbytes - filled)
            copy[filled : filled + len(piece)] = piece
            filled += len(piece)
        return copy.toreadonly()

    def _next(self, most: int) -> memoryview:
        self._stage.due(lambda: bool(self._pieces))
        piece = self._pieces.popleft()
        if len(piece) > most:
            self._pieces.appendleft(piece[most:])
        self._stage.used(min(len(piece), most))
        return piece[:most]

    @property
    def left(self) -> int:
        """Bytes that were not read."""
        return sum(map(len, self._pieces))


class Notes:
    """Results computed ahead, in program order: let go as they are read."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._results = stage, deque[U64]()

    def put(self, result: U64) -> None:
        """Keep a result; nobody else writes to it any more."""
        self._results.append(result)
        self._stage.came(result.nbytes)

    def next(self, shape: Shape) -> U64:
        """The next result."""
        results = self._results
        self._stage.due(lambda: bool(results))
        result = results.popleft()
        self._stage.used(result.nbytes)
        return result.reshape(shape)
