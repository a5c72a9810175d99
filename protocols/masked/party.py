"""A party's interpreter: follows the program on public values and shares, and exchanges openings."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.protocols import prg, ring
from privinf.protocols.contract import Link, Source
from privinf.protocols.cost import Cost
from privinf.protocols.kernels import Kernels
from privinf.protocols.kernels.prg import U8
from privinf.protocols.masked.counting import WORD
from privinf.protocols.masked.interpreter import DIGEST_BYTES, Interpreter, Weights, rounding
from privinf.protocols.masked.watched import LIFTED
from privinf.protocols.masked.wires import Cut, Secret, Share, Wire
from privinf.protocols.ring import U64, Shape

PART_BYTES = 1 << 18  # of openings that leave together while the round's next ones are still computed


class Computed(Protocol):
    """Room for what is computed ahead, and then that, in program order."""

    def next(self, shape: Shape) -> U64: ...


@dataclass(frozen=True)
class Sent(Secret):
    """What an opening sent, modulo 2^bits, and the wire that waits for the sum without its low bits."""

    masked: U64
    bits: int
    drop: np.uint64
    wire: Wire


class Party(Interpreter):
    """Party 0 or 1 of a session; public terms are added by party 1 alone."""

    def __init__(
        self,
        index: int,
        preparation: bytes,
        seed: bytes,
        source: Source,
        link: Link,
        weights: Weights | None = None,
        precomputed: Computed | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(weights, kernels)
        self.index = index
        self._preparation = preparation
        self._seed = seed
        self._prep = source
        self._link = link
        self._precomputed = precomputed
        self._outbox: list[Sent] = []
        self._digests: list[tuple[bytes, str]] = []  # of shares that must be of zero, and what is said if not
        self._tossed: int | None = None  # this round's byte, of which one bit serves
        self.tossed = np.uint64(0)  # what both drew alike last
        self._held: list[memoryview] = []  # packed, and not yet worth a message
        self._parts: list[int] = []  # bytes of the parts of this round

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        return gate.evaluate(self, *inputs)

    def public_term(self, value: U64 | np.uint64) -> U64 | np.uint64:
        """`value` at party 1, zero at party 0."""
        return value if self.index else np.uint64(0)

    def share(self, tag: str, shape: Shape, bits: int) -> U64:
        """This party's share of a value that the dealer shares under this name."""
        return self._later(tag, shape, bits)()

    def _later(self, tag: str, shape: Shape, bits: int) -> Callable[[], U64]:
        """The same for when it is asked for; what was dealt is read at once."""
        if self.index == self.receiver(shape, bits):
            dealt = self._read(ring.packed_bytes(ring.size_of(shape), bits))
            return lambda: ring.unpack(dealt, bits, shape, self.kernels)
        name = f"{self.name}:{tag}"
        return lambda: prg.elements(self._seed, name, shape, bits, self.kernels)

    def ahead(self, shape: Shape, dealt: int = 0) -> U64:
        """What the gate's `ahead` facet kept; it has used a correction of `dealt` bits an element, which is passed."""
        assert self._precomputed is not None, "this program needs what its parties compute ahead"
        self.account(Cost(precomputed=WORD * ring.size_of(shape)))
        if dealt and self.index == self.receiver(shape, dealt):
            self._read(ring.packed_bytes(ring.size_of(shape), dealt))
        return self._precomputed.next(shape)

    def keys(self, shape: Shape) -> tuple[bytes, int, U8, U8]:
        """What the gate under way walks its trees by: AES keys, party, roots, and correction words of this shape."""
        words, roots = self.common(shape), prg.roots(self._seed, f"{self.name}:key", shape[1], self.kernels)
        return prg.dealt_tree(self._preparation, self.name), self.index, roots, words

    def common(self, shape: Shape, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
        """Correction words that both parties hold, as a view of the received buffer."""
        nbytes = ring.size_of(shape) * np.dtype(dtype).itemsize
        return np.frombuffer(self._read(nbytes), dtype=dtype).reshape(shape)

    def _read(self, nbytes: int) -> memoryview:
        mine, theirs = (nbytes, 0) if self.index == 0 else (0, nbytes)
        self.account(Cost(prep0=mine, prep1=theirs))
        return self._prep.read(nbytes)

    def queue(self, share: Share, drop: int) -> Wire:
        own = self.drawn(share, drop)
        cut = np.uint64(drop)
        wire = Wire(
            share.shape, share.bits - drop, share.scale - drop, mask_share=own >> cut if drop else own
        )
        wire.source = _unread
        masked = share.value + own  # reduced when it is packed
        if drop and self.index:
            masked -= rounding(drop)
        if self.watched is not None:
            wire.cut = Cut(share.bits, drop, share.room, masked)
        self._outbox.append(Sent(masked, share.bits, cut, wire))
        self._held.append(ring.pack(masked, share.bits, self.kernels))
        if sum(map(len, self._held)) >= PART_BYTES:
            self._push()
        return wire

    def drawn(self, share: Share, drop: int) -> U64:
        """This party's part of the mask of an opening."""
        return prg.elements(self._seed, f"{self.name}:mask", share.shape, share.bits, self.kernels)

    def _push(self) -> None:
        part = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._link.push(part)
        self._parts.append(len(part))
        self._held = []

    def compare(self, shares: Sequence[Share], refusal: str) -> None:
        """Shares are of zero if party 0's are what party 1's are without their sign."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=DIGEST_BYTES, person=b"privinf zero v1")
        for share in shares:
            value = np.uint64(0) - share.value if self.index else share.value
            digest.update(ring.pack(value, share.bits, self.kernels))
        self._digests.append((digest.digest(), refusal))

    def toss(self) -> None:
        super().toss()
        self._tossed = prg.fresh_seed()[0]

    def exchange(self) -> None:
        self._held += [memoryview(digest) for digest, _ in self._digests]
        if self._tossed is not None:
            self._held.append(memoryview(bytes([self._tossed])))
        if self._held:
            self._push()
        replies = _Replies(self._link.pull(self._parts))
        for sent in self._outbox:
            theirs = replies.take(ring.packed_bytes(sent.masked.size, sent.bits))
            opened = sent.masked + ring.unpack(theirs, sent.bits, sent.masked.shape, self.kernels)
            sent.wire.source = ring.low(opened, sent.bits) >> sent.drop
            if self.index and sent.wire.cut is not None:
                sent.wire.cut.high = opened
        digests = [(own, replies.take(DIGEST_BYTES), refusal) for own, refusal in self._digests]
        if self._tossed is not None:
            self.tossed = np.uint64((self._tossed ^ replies.take(1)[0]) & 1)
        self._outbox, self._parts, self._digests, self._tossed = [], [], [], None
        for own_digest, other, refusal in digests:
            if not hmac.compare_digest(own_digest, bytes(other)):
                raise InputError(refusal)

    def deal_mask_share(self, wire: Wire) -> None:
        wire.mask_share = self._later("mask", wire.shape, wire.bits)

    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        wrap, top = (self.share(tag, wire.shape, bits - wire.bits) for tag in ("wrap", "top"))
        return wire.own_mask - (wrap << np.uint64(wire.bits)), top

    def watch_lift(self, wire: Wire, lift: tuple[U64, ...]) -> None:
        assert self.watched is not None
        whole, top = lift
        wraps = wire.own_mask - whole  # above the ring
        self.watched.add(self.name, wire, wire.bits, wraps, top << np.uint64(2), LIFTED, self.kernels)


class _Replies:
    """The peer's parts of a round, from front to back; no piece lies in two of them."""

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts, self._part, self._at = iter(parts), memoryview(b""), 0

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        if size and self._at == len(self._part):
            self._part, self._at = next(self._parts), 0
        self._at += size
        return self._part[self._at - size : self._at]


def _unread() -> U64:
    raise AssertionError("a wire was read before its round")
