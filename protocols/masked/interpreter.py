"""One schedule for every role: gates run in program order, openings queue up and leave together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from privinf.protocols import prg, ring
from privinf.protocols.cost import Cost, Tally
from privinf.protocols.kernels import Kernels, default
from privinf.protocols.masked.watched import SPARE, Watched, can_watch
from privinf.protocols.masked.wires import Cut, Share, Wire, derive, map_share
from privinf.protocols.ring import U64, Shape

DIGEST_BYTES = 32


class Weights(Protocol):
    """One role's side of the static weights: opened values and a share of masks, masks, clear values, or shapes."""

    def wire(self, name: str) -> Wire: ...


class Interpreter(ABC):
    """Runs gates for one role: party, dealer, ideal functionality, or cost."""

    def __init__(self, weights: Weights | None = None, kernels: Kernels | None = None) -> None:
        self._weights, self.kernels = weights, kernels or default()
        self.rounds = 0
        self.tally = Tally()
        self.name = ""
        self.journal: Callable[[str], None] | None = None  # told the name of each opening
        self.watched: Watched | None = None  # ranges are checked where it is there
        self._queued = False
        self._waiting: list[tuple[Any, Wire]] = []
        self._index = 0
        self._sent = [0, 0]  # bytes of the differences of shared values, by party
        self._scope: list[str] = []

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names and costs inside belong to `name`."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    @property
    def where(self) -> str:
        return "/".join(self._scope)

    def weight(self, name: str) -> Wire:
        """A static weight as this role holds it."""
        assert self._weights is not None
        return self._weights.wire(name)

    def run(self, gate: Any, *inputs: Any) -> Any:
        """Run a gate once every wire it reads is open; each call has a name of its own."""
        self.touch(*inputs)
        gate.require(self, *inputs)
        self._rename(gate.name)
        return self.apply(gate, inputs)

    def run_later(self, gate: Any, wire: Wire) -> None:
        """Run a gate that gives nothing as soon as the wire is open: it causes no round before its time."""
        if wire.round < self.rounds:
            self.run(gate, wire)
        else:
            self._waiting.append((gate, wire))

    def open(self, share: Share, drop: int = 0) -> Wire:
        """Queue the opening of a share under a fresh mask; `drop` low bits are cut off afterwards.

        Each party cuts them off its own part of the mask, so that it still has a share of it. What is opened is
        x - 2^(drop - 1), as two parts lose half a unit each on average, and the opened value one half: the wire's value
        is within 1.5 units of x / 2^drop, -2^-(drop + 1) off on average, with a variance of at most 1/4.
        """
        self._rename("open")
        wire = self.queue(share, drop)
        wire.round = self.rounds
        if wire.cut is None and self.watched is not None:
            wire.cut = Cut(share.bits, drop, share.room)
        if self.journal is not None:
            self.journal(f"{self.name} {share.bits} {share.shape}")
        self._queued = True
        self.account(Cost(online=ring.packed_bytes(ring.size_of(share.shape), share.bits)))
        return wire

    def require_zero(self, shares: Sequence[Share], refusal: str) -> None:
        """Refuse the client's input, with InputError at both parties, unless all shares are of zero; no round.

        A digest each way travels with the openings of the round to come: it tells whether they are, and no more.
        """
        self._rename("zero")
        self.compare(shares, refusal)
        self._queued = True
        self.account(Cost(online=DIGEST_BYTES))

    def toss(self) -> None:
        """Draw a bit that both parties know and nobody else does: a byte each way with the openings of this round."""
        self._queued = True
        self.account(Cost(online=1))

    def touch(self, *inputs: Any) -> None:
        """Exchange what is queued if one of the inputs waits for it."""
        if any(isinstance(w, Wire) and w.round >= self.rounds for w in inputs):
            self.flush()

    def flush(self) -> None:
        """Exchange all queued openings: one round."""
        if not self._queued:
            return
        self.account(Cost(rounds=1))
        self.exchange()
        self.rounds += 1
        self._queued = False
        waiting, self._waiting = self._waiting, []
        for gate, wire in waiting:
            self.run(gate, wire)

    def settle(self) -> None:
        """Run what waits for an opening."""
        if self._waiting:
            self.flush()

    def account(self, cost: Cost) -> None:
        self.tally.add(self.where, cost)

    def mask_share(self, wire: Wire) -> None:
        """Make each party hold a share of the wire's mask; the dealer sends it where it cannot be derived."""
        if not wire.shared:
            self._rename("mask")
            self.deal_mask_share(wire)
            wire.shared = True

    def lift_share(self, wire: Wire, bits: int) -> None:
        """Make each party hold shares modulo 2^bits of the mask and 2^n times its top bit, dealt once a wire and ring.

        Of the integer mask only the wrap of the parties' shares modulo 2^n is missing, and that too counts 2^n times:
        two elements of bits - n bits are dealt. They are all that a check of the wire's range needs.
        """
        assert not wire.static, "a static wire outlives a preparation: its lift would be used twice"
        self.mask_share(wire)
        if bits not in wire.lifts:
            self._rename("lift")
            wire.lifts[bits] = self.deal_lift(wire, bits)
            if self.watched is not None and bits - wire.bits >= SPARE and can_watch(wire, wire.bits):
                self.watch_lift(wire, wire.lifts[bits])
                wire.cut = None

    def add_public(self, share: Share, constant: U64 | np.uint64) -> Share:
        """Add public ring elements to a shared value."""
        return map_share(share, share.shape, lambda v: v + self.public_term(constant))

    def public_term(self, value: U64 | np.uint64) -> U64 | np.uint64:
        """What of a public value this role adds to what it holds."""
        return value

    def receiver(self, shape: Shape, bits: int) -> int:
        """The party that is sent the difference of a shared value, while the other draws its part: in balance."""
        to = int(self._sent[1] <= self._sent[0])
        self._sent[to] += ring.packed_bytes(ring.size_of(shape), bits)
        return to

    def _rename(self, what: str) -> None:
        self._index += 1
        self.name = f"{self.where}/{what}#{self._index}"

    @abstractmethod
    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        """Run this role's facet of the gate."""

    @abstractmethod
    def queue(self, share: Share, drop: int) -> Wire:
        """This role's part of an opening, before it is exchanged; the wire is the one that is left."""

    def compare(self, shares: Sequence[Share], refusal: str) -> None:  # noqa: B027
        """This role's part in finding out whether the shares are of zero, before it is exchanged: none by default."""

    def exchange(self) -> None:  # noqa: B027
        """Send and receive all that is queued; roles that see no opening have nothing to."""

    def watch_lift(self, wire: Wire, lift: tuple[U64, ...]) -> None:  # noqa: B027
        """Combine whether a wire leaves the ring in which it is lifted: nothing by default, without data."""

    @abstractmethod
    def deal_mask_share(self, wire: Wire) -> None:
        """Share the mask of a wire, in the wire's ring."""

    @abstractmethod
    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        """Share the mask in Z_2^bits and its top bit in Z_2^(bits - n): what this role has of both, if anything."""


class Seeded(Interpreter):
    """Knows both parties' seeds, and so every mask."""

    def __init__(
        self, seeds: tuple[bytes, bytes], weights: Weights | None = None, kernels: Kernels | None = None
    ) -> None:
        super().__init__(weights, kernels)
        self._seeds = seeds

    def masks(self, tag: str, shape: Shape, bits: int) -> U64:
        """A fresh mask: the sum of what each party draws under this name."""
        first, second = self._drawn(tag, shape, bits)
        return ring.low(first + second, bits)

    def _drawn(self, tag: str, shape: Shape, bits: int) -> tuple[U64, U64]:
        """What each party draws under this name."""
        name = f"{self.name}:{tag}"
        first, second = (prg.elements(seed, name, shape, bits, self.kernels) for seed in self._seeds)
        return first, second

    def queue(self, share: Share, drop: int) -> Wire:
        return self.masked(share, drop, *self._drawn("mask", share.shape, share.bits))

    def masked(self, share: Share, drop: int, first: U64, second: U64) -> Wire:
        """The wire of an opening under the sum of these parts, each of which loses its low bits."""
        if drop:
            first, second = (part >> np.uint64(drop) for part in (first, second))
        bits = share.bits - drop
        mask = ring.low(first + second, bits)
        return Wire(share.shape, bits, share.scale - drop, mask=mask, mask_share=first)


def rounding(drop: int) -> np.uint64:
    """What is taken from a value before it is opened, so that a drop is right on average."""
    return np.uint64(1 << drop >> 1)


def drop_bits(wire: Wire, count: int) -> Wire:
    """The wire of x >> count (+0 or +1 by the mask's low bits, mean exact) modulo 2^(bits - count); local.

    For what feeds keys or needs the smaller error: shares of the new mask, if they are asked for, are dealt.
    """
    shift = np.uint64(count)
    return derive(
        [wire],
        wire.shape,
        wire.bits - count,
        wire.scale - count,
        public=lambda x: x >> shift,
        mask=lambda d: d >> shift,
        linear=False,
    )
