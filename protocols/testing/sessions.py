"""Sessions whose openings are recorded, and others whose masks are chosen so that the same openings come out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Queue
from threading import Barrier
from typing import Any

import numpy as np

from privinf.protocols import ring
from privinf.protocols.contract import ALL, Buffer
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.gates.linear import MatMul, PublicMatMul
from privinf.protocols.masked.interpreter import rounding
from privinf.protocols.masked.party import Party, Sent
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64, Shape
from privinf.protocols.testing import lockstep

TIMEOUT = 60.0
PREPARATION = b"a preparation id"
SPLIT = b"\x0c" * 32  # party 0's share of every input is the same, whatever the input
Weights = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Opening:
    """One opening as party 0 sees it: its name, its ring, what party 1 sent, and the sum."""

    name: str
    bits: int
    received: U64
    opened: U64


@dataclass(frozen=True)
class Session:
    """What one session showed and gave."""

    openings: list[Opening]
    transcripts: tuple[list[bytes], list[bytes]]
    results: list[U64]


class Choice:
    """Where all three roles meet at each opening; a name that comes twice keeps its mask."""

    def __init__(self, wanted: Sequence[Opening]) -> None:
        self._wanted = wanted
        self._barrier = Barrier(3, action=self._choose, timeout=TIMEOUT)
        self._offers: dict[int, tuple[U64, U64]] = {}
        self._name, self._bits = "", 0
        self._drawn: dict[tuple[str, int, ring.Shape], tuple[U64, U64]] = {}
        self._masks: list[tuple[U64, U64]] = []

    def meet(self, at: int, name: str, bits: int, offer: tuple[int, U64, U64] | None) -> tuple[U64, U64]:
        """Both parties' parts of the mask of opening `at`; a party offers its share and what it would draw."""
        if offer:
            self._offers[offer[0]] = offer[1:]
        else:
            self._name, self._bits = name, bits
        self._barrier.wait()
        return self._masks[at]

    def abort(self) -> None:
        """Let nobody wait for a role that failed."""
        self._barrier.abort()

    def _choose(self) -> None:
        wanted = self._wanted[len(self._masks)]
        (first, drawn), (second, _) = self._offers[0], self._offers[1]
        mask = wanted.opened - first - second
        key = self._name, self._bits, first.shape
        self._masks.append(self._drawn.setdefault(key, (drawn, ring.low(mask - drawn, self._bits))))


class WatchedParty(Party):
    """Keeps what it opens; draws masks as chosen where there is a choice."""

    log: list[Sent]
    names: list[str]
    choice: Choice | None = None
    kept: U64

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        """What is computed ahead elsewhere is computed here when it is due: masks are chosen only then."""
        if isinstance(gate, PublicMatMul) or (isinstance(gate, MatMul) and inputs[1].static):
            gate.ahead(self, *inputs)  # type: ignore[arg-type]
        return super().apply(gate, inputs)

    def correction(self, tag: str, shape: Shape, bits: int) -> U64:
        return self.share(tag, shape, bits)

    def keep(self, result: U64) -> None:
        self.kept = result

    def ahead(self, shape: Shape, dealt: int = 0) -> U64:
        return self.kept

    def queue(self, share: Share, drop: int) -> Wire:
        wire = super().queue(share, drop)
        self.names.append(self.name)
        self.log.append(self._outbox[-1])
        return wire

    def drawn(self, share: Share, drop: int) -> U64:
        own = super().drawn(share, drop)
        if self.choice is None:
            return own
        offer = self.index, share.value - self.public_term(rounding(drop)), own
        return self.choice.meet(len(self.log), self.name, share.bits, offer)[self.index]


class WatchedDealer(Dealer):
    """Draws the masks of openings as chosen where there is a choice."""

    choice: Choice | None = None
    count = 0

    def queue(self, share: Share, drop: int) -> Wire:
        self.count += 1
        if self.choice is None:
            return super().queue(share, drop)
        return self.masked(share, drop, *self.choice.meet(self.count - 1, self.name, share.bits, None))


class Stream:
    """A preparation that is read while it is written."""

    def __init__(self) -> None:
        self.chunks: Queue[bytes] = Queue()
        self._held = b""

    def read(self, nbytes: int) -> memoryview:
        while len(self._held) < nbytes:
            self._held += self.chunks.get(timeout=TIMEOUT)
        piece, self._held = self._held[:nbytes], self._held[nbytes:]
        return memoryview(piece)


def session(
    program: lockstep.Program,
    inputs: Sequence[Share],
    seeds: tuple[bytes, bytes],
    *,
    weights: Weights = (None, None, None),
    like: Sequence[Opening] | None = None,
) -> Session:
    """Run all roles at once; with `like`, masks are chosen so that these openings come out again."""
    pairs = [lockstep.split(s.value, SPLIT, f"input{i}", s.bits) for i, s in enumerate(inputs)]
    shares = [
        [Share(s.shape, s.bits, s.scale, p[b]) for s, p in zip(inputs, pairs, strict=True)] for b in (0, 1)
    ]
    empty = [Share(s.shape, s.bits, s.scale) for s in inputs]
    streams, boxes = (Stream(), Stream()), (Queue[bytes](), Queue[bytes]())

    def write(to: int, data: Buffer) -> None:
        for party in (0, 1) if to == ALL else (to,):
            streams[party].chunks.put(bytes(data))

    ends = [lockstep.Loop(b, boxes[b], boxes[1 - b], None) for b in (0, 1)]
    parties = [WatchedParty(b, PREPARATION, seeds[b], streams[b], ends[b], weights[b]) for b in (0, 1)]
    dealer = WatchedDealer(PREPARATION, seeds, write, weights[2])
    choice = Choice(like) if like is not None else None
    dealer.choice = choice
    for party in parties:
        party.log, party.names, party.choice = [], [], choice

    def work(ctx: Any, given: Sequence[Share]) -> Any:
        try:
            result = program(ctx, *given)
            ctx.flush()
        except BaseException:
            if choice:
                choice.abort()
            raise
        return result

    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(work, ctx, g) for ctx, g in zip((*parties, dealer), (*shares, empty), strict=True)
        ]
        first, second, _ = (run.result(TIMEOUT) for run in runs)
    results = [ring.low(a.value + b.value, a.bits) for a, b in zip(first, second, strict=True)]
    return Session(_openings(*parties), (ends[0].transcript, ends[1].transcript), results)


def _openings(first: WatchedParty, second: WatchedParty) -> list[Opening]:
    out = []
    for name, own, other in zip(first.names, first.log, second.log, strict=True):
        received = ring.low(other.masked, own.bits)
        opened = ring.low(own.masked + received, own.bits)
        for sent in (own, other):
            np.testing.assert_array_equal(sent.wire.public, opened >> own.drop)
        out.append(Opening(name, own.bits, received, opened))
    return out
