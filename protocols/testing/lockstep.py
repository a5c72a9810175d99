"""Dealer and both parties of one session in one process: for tests, profiles and attacks; protects nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from queue import Queue
from typing import Any

from privinf.protocols import prg, ring
from privinf.protocols.contract import ALL, ID_BYTES, Buffer
from privinf.protocols.cost import Tally
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.ahead import Ahead
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64, Shape

Program = Callable[..., Any]
Tamper = Callable[[int, int, bytes], bytes]
TIMEOUT = 120.0


class Tape:
    """A preparation in memory, read in program order."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._data = memoryview(b"".join(chunks))
        self._at = 0

    def read(self, nbytes: int) -> memoryview:
        piece = self._data[self._at : self._at + nbytes]
        if len(piece) != nbytes:
            raise EOFError("the preparation ends before the program does")
        self._at += nbytes
        return piece

    @property
    def left(self) -> int:
        return len(self._data) - self._at


class Loop:
    """One end of an in-process channel; `transcript` keeps what this end sent."""

    def __init__(self, index: int, inbox: Queue[bytes], outbox: Queue[bytes], tamper: Tamper | None) -> None:
        self._index, self._inbox, self._outbox, self._tamper = index, inbox, outbox, tamper
        self.transcript: list[bytes] = []
        self._pushed: list[bytes] = []

    def to(self, peer: int) -> Loop:
        """The link to the other party, the only one there is."""
        return self

    def push(self, part: Buffer) -> None:
        self._pushed.append(bytes(part))

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        """All parts of a round travel as one message here."""
        message, self._pushed = b"".join(self._pushed), []
        if self._tamper:
            message = self._tamper(self._index, len(self.transcript), message)
        self.transcript.append(message)
        self._outbox.put(message)
        reply = self._inbox.get(timeout=TIMEOUT)
        if len(reply) != sum(expect):
            raise ValueError(f"the peer sent {len(reply)} bytes where {sum(expect)} were expected")
        ends = list(accumulate(expect))
        return [memoryview(reply)[end - size : end] for size, end in zip(expect, ends, strict=True)]


class Notes:
    """What one party computed ahead, in memory."""

    def __init__(self, results: list[U64] | None = None) -> None:
        self._results: list[U64] = [] if results is None else results

    def put(self, result: U64) -> None:
        """Keep the next result."""
        self._results.append(result)

    def next(self, shape: Shape) -> U64:
        """The next result; it has the shape that the program asks for."""
        result = self._results.pop(0)
        assert result.shape == shape
        return result

    def read(self) -> Notes:
        """The same, to be read from its beginning."""
        return Notes(list(self._results))


@dataclass
class Lockstep:
    """What one run produced: both results, what each party sent, and everybody's tally."""

    results: tuple[Any, Any]
    transcripts: tuple[list[bytes], list[bytes]]
    tallies: tuple[Tally, Tally]
    dealer_tally: Tally
    left: tuple[int, int]


def split(value: U64, seed: bytes, name: str, bits: int = 64) -> tuple[U64, U64]:
    """Two additive shares of a value; the first is drawn from the seed."""
    first = prg.elements(seed, name, value.shape, bits)
    return first, ring.low(value - first, bits)


def share_inputs(inputs: Sequence[Share], seed: bytes) -> tuple[list[Share], list[Share], list[Share]]:
    """Both parties' shares of the inputs, and the inputs without data as dealer and cost interpreter see them."""
    pairs = [split(s.value, seed, f"input{i}", s.bits) for i, s in enumerate(inputs)]
    mine = [
        [Share(s.shape, s.bits, s.scale, p[b]) for s, p in zip(inputs, pairs, strict=True)] for b in (0, 1)
    ]
    return mine[0], mine[1], [Share(s.shape, s.bits, s.scale) for s in inputs]


def run(
    program: Program,
    inputs: Sequence[Share],
    seeds: tuple[bytes, bytes],
    *,
    weights: tuple[Any, Any, Any] = (None, None, None),
    tamper: Tamper | None = None,
    preparation: bytes = bytes(ID_BYTES),
    kernels: tuple[Kernels | None, Kernels | None, Kernels | None] = (None, None, None),
) -> Lockstep:
    """Run `program(ctx, *inputs)` in shares; `weights` and `kernels` are party 0's, party 1's and the dealer's."""
    first, second, empty = share_inputs(inputs, prg.fresh_seed())
    tapes: tuple[list[bytes], list[bytes]] = ([], [])

    def write(to: int, data: Buffer) -> None:
        for party in (0, 1) if to == ALL else (to,):
            tapes[party].append(bytes(data))

    dealer = Dealer(preparation, seeds, write, weights[2], kernels[2])
    program(dealer, *empty)
    dealer.flush()
    sources = Tape(tapes[0]), Tape(tapes[1])
    queues: tuple[Queue[bytes], Queue[bytes]] = (Queue(), Queue())
    ends = Loop(0, queues[0], queues[1], tamper), Loop(1, queues[1], queues[0], tamper)
    notes = [Notes(), Notes()]
    for b in (0, 1):
        _finish(program, Ahead(b, seeds[b], Tape(tapes[b]), notes[b], weights[b], kernels[b]), empty)
    parties = [
        Party(b, preparation, seeds[b], sources[b], ends[b], weights[b], notes[b].read(), kernels[b])
        for b in (0, 1)
    ]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(_finish, program, p, i) for p, i in zip(parties, (first, second), strict=True)]
        results = tuple(r.result(TIMEOUT) for r in runs)
    return Lockstep(
        (results[0], results[1]),
        (ends[0].transcript, ends[1].transcript),
        (parties[0].tally, parties[1].tally),
        dealer.tally,
        (sources[0].left, sources[1].left),
    )


def ideal(
    program: Program,
    inputs: Sequence[Share],
    seeds: tuple[bytes, bytes],
    weights: Any = None,
    kernels: Kernels | None = None,
) -> Any:
    """Run the program in the ideal interpreter under the same seeds."""
    return _finish(program, Ideal(seeds, weights, kernels), inputs)


def declared(program: Program, inputs: Sequence[Share], weights: Any = None) -> Counting:
    """Run the program in the cost interpreter."""
    ctx = Counting(weights)
    _finish(program, ctx, [Share(s.shape, s.bits, s.scale) for s in inputs])
    return ctx


def _finish(program: Program, ctx: Interpreter, inputs: Sequence[Share]) -> Any:
    result = program(ctx, *inputs)
    ctx.flush()
    return result
