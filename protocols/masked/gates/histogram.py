"""The largest of a row in a few rounds, whatever its length: a shared histogram, its highest used bucket.

Buckets are the coarse wire's signed values; N_t counts the entries at or above bucket t, and the number
of t with N_t > 0 is the highest bucket. A wide range takes two passes: coarse buckets
first, then fine ones in the window that the first pass leaves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from privinf.protocols import ring
from privinf.protocols.kernels.prg import U8
from privinf.protocols.kernels.reference import lane_key_shape, point_key_shape
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Party
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.gates.compare import Equals
from privinf.protocols.masked.interpreter import Interpreter, drop_bits
from privinf.protocols.masked.wires import Share, Wire, derive, map_share, narrow
from privinf.protocols.ring import U64, Shape

# What a round is worth in bytes of a party's preparation: sending about 300 KB takes as long on one machine, 190 KB on
# a LAN and 500 KB on a WAN, by cost.NETWORKS.
ROUND = 1 << 18


def lane_of(bits: int) -> int:
    """The lane in which numbers of so many bits are counted, or modulo which a number of that ring is."""
    return 8 if bits <= 8 else 16


class _Counts(ABC):
    """What gates that count by one-hot keys share: the lanes of a leaf, the keys of a wire, and their cost."""

    def __init__(self, lane: int) -> None:
        self._lane = lane

    @abstractmethod
    def _shape(self, x: Wire) -> Shape:
        """The counts'."""

    def deal(self, ctx: Dealer, x: Wire) -> None:
        alpha = x.secret.reshape(-1)
        ctx.common(ctx.kernels.onehot_gen(ctx.tree(), alpha, x.bits, self._lane, *ctx.roots(alpha.size)))

    def _key(self, ctx: Party, x: Wire) -> tuple[bytes, int, U8, U8, int, int]:
        """What kernels evaluate a wire's keys by."""
        return *ctx.keys(lane_key_shape(x.bits, self._lane, ring.size_of(x.shape))), x.bits, self._lane

    def cost(self, ctx: Counting, x: Wire) -> None:
        ctx.common(*lane_key_shape(x.bits, self._lane, ring.size_of(x.shape)))

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return Share(self._shape(x), self._lane, 0, data)


class Tail(_Counts, Gate):
    """Counts [N_t], t = 1 .. 2^n - 1, of a row's entries of signed value t - 2^(n-1) or more; modulo 2^lane."""

    name = "tail"

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        index = ring.low(x.public + _half(x), x.bits).reshape(-1)
        counts = ctx.kernels.onehot_sum(*self._key(ctx, x), index, x.shape[-1])
        return self.output(x, _tails(counts).reshape(self._shape(x)))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        index = ring.low(x.public - x.secret + _half(x), x.bits).reshape(-1, x.shape[-1])
        rows = np.arange(index.shape[0])[:, None]
        counts = np.zeros((index.shape[0], 1 << x.bits), dtype=np.uint64)
        np.add.at(counts, (rows, index), np.uint64(1))
        return self.output(x, _tails(counts).reshape(self._shape(x)))

    def _shape(self, x: Wire) -> Shape:
        return (*x.shape[:-1], (1 << x.bits) - 1)


class Head(_Counts, Gate):
    """Counts [N_t], t = 1 .. count, of a row's entries whose unsigned value is below t; modulo 2^lane."""

    name = "head"

    def __init__(self, lane: int, count: int) -> None:
        super().__init__(lane)
        self._count = count

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        index = np.ascontiguousarray(x.public).reshape(-1)
        counts = ctx.kernels.onehot_window(*self._key(ctx, x), index, x.shape[-1], self._count)
        return self.output(x, np.cumsum(counts, axis=1, dtype=np.uint64).reshape(self._shape(x)))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        index = ring.low(x.public - x.secret, x.bits)[..., None]
        below = index < np.arange(1, self._count + 1, dtype=np.uint64)
        return self.output(x, below.sum(axis=-2, dtype=np.uint64))

    def _shape(self, x: Wire) -> Shape:
        return (*x.shape[:-1], self._count)


class CountZeros(_Counts, Gate):
    """[number of zero entries along the last axis, kept] modulo 2^lane."""

    name = "count_zeros"

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        points = np.ascontiguousarray(x.public).reshape(1, -1)
        zero = ctx.kernels.onehot_point(*self._key(ctx, x), points)
        return self.output(x, zero.reshape(x.shape).sum(axis=-1, keepdims=True, dtype=np.uint64))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        zero = ring.low(x.public - x.secret, x.bits) == 0
        return self.output(x, zero.sum(axis=-1, keepdims=True, dtype=np.uint64))

    def _shape(self, x: Wire) -> Shape:
        return (*x.shape[:-1], 1)


def distance_below_max(ctx: Interpreter, x: Wire, coarse: int, fine: int, worth: int = ROUND) -> Wire:
    """The wire of y = m - x >= 0 along the last axis, m at most two fine buckets above the row's largest entry.

    Buckets have 2^coarse units of x at first, then 2^fine; equal `coarse` and `fine` do without the second pass. worth:
    bytes of preparation that a round is worth.
    Domain: |x| + 2^coarse < 2^(bits-1) units and the row's spread plus two coarse buckets below 2^bits.
    Result: unsigned modulo 2^bits, 0 <= min(y) <= 2 * 2^fine. Two rounds, or four with a fine pass; one more for each
    pass with so many counts that their zeros are told by single bits.
    """
    near = _above_max(ctx, x, coarse, worth)
    return near if coarse == fine else _towards_zero(ctx, near, coarse, fine, worth)


def _above_max(ctx: Interpreter, x: Wire, bucket: int, worth: int) -> Wire:
    """y = ((m + 1) << bucket) - x with m the highest used bucket: 0 < min(y) <= 2^(bucket+1)."""
    coarse = drop_bits(x, bucket)
    row, lane = x.shape[-1].bit_length(), lane_of(coarse.bits)
    tail = ctx.open(narrow(ctx.run(Tail(lane_of(row)), coarse), row))
    if by_lanes(tail, lane, worth):
        zeros: Share = ctx.run(CountZeros(lane), tail)
    else:
        zeros = zeros_by_bits(ctx, tail, coarse.bits, last=True)
    buckets = (1 << coarse.bits) - 1
    start = buckets - (1 << (coarse.bits - 1))
    highest = ctx.add_public(map_share(zeros, zeros.shape, np.negative), np.uint64(start))
    top = ctx.open(narrow(highest, coarse.bits))
    shift = np.uint64(bucket)
    return derive(
        [top, x],
        x.shape,
        x.bits,
        x.scale,
        public=lambda m, s: ring.low(((m + np.uint64(1)) << shift) - s, x.bits),
        mask=lambda m, s: ring.low((m << shift) - s, x.bits),
    )


def _towards_zero(ctx: Interpreter, y: Wire, coarse: int, bucket: int, worth: int) -> Wire:
    """y less its row's smallest fine bucket, plus one bucket for the drop's carry."""
    fine = drop_bits(y, bucket)
    # Buckets in which the nearest entry lies, the drop's carry included
    window = (2 << (coarse - bucket)) + 2
    row, lane = y.shape[-1].bit_length(), lane_of(fine.bits)
    head = ctx.open(narrow(ctx.run(Head(lane_of(row), window), fine), row))
    if by_lanes(head, lane, worth):
        zeros: Share = ctx.run(CountZeros(lane), head)
    else:
        zeros = zeros_by_bits(ctx, head, fine.bits, last=False)
    smallest = ctx.open(narrow(zeros, fine.bits))
    one, shift, bits = np.uint64(1), np.uint64(bucket), y.bits
    return derive(
        [y, smallest],
        y.shape,
        bits,
        y.scale,
        public=lambda v, m: ring.low(v - ((m - one) << shift), bits),
        mask=lambda v, m: ring.low(v - (m << shift), bits),
    )


def by_lanes(counts: Wire, lane: int, worth: int = ROUND) -> bool:
    """Whether counts are tested for zero by keys of a lane, as single bits would save less than a round is worth."""
    tests = ring.size_of(counts.shape)
    shapes = lane_key_shape(counts.bits, lane, tests), point_key_shape(counts.bits, tests)
    lanes, points = map(ring.size_of, shapes)
    return lanes - points <= worth


def zeros_by_bits(ctx: Interpreter, counts: Wire, bits: int, last: bool) -> Share:
    """[number of zeros along the last axis, kept] modulo 2^bits, where they all stand last, or all first; one round.

    A key of one bit tests each. Bit k of the number is the parity of the tests at every 2^k-th place from the zeros'
    end on; these bits are opened, and lifted.
    """
    zero: Share = ctx.run(Equals(), counts)
    row, width = counts.shape[:-1], counts.shape[-1].bit_length()

    def parities(v: U64) -> U64:
        inward = v[..., ::-1] if last else v
        sums = [inward[..., (1 << k) - 1 :: 1 << k].sum(axis=-1, dtype=np.uint64) for k in range(width)]
        return np.stack(sums, axis=-1)

    def number_of(v: U64) -> U64:
        powers = np.arange(width, dtype=np.uint64)
        total: U64 = (v << powers).sum(axis=-1, keepdims=True, dtype=np.uint64)
        return total

    lifted = from_bits(ctx, ctx.open(map_share(zero, (*row, width), parities)), bits)
    return map_share(lifted, (*row, 1), number_of)


def _half(x: Wire) -> np.uint64:
    return np.uint64(1 << (x.bits - 1))


def _tails(counts: npt.NDArray[np.unsignedinteger]) -> U64:
    """Suffix sums over buckets 1 and up."""
    wide = counts.astype(np.uint64)[:, ::-1]
    return np.cumsum(wide, axis=1)[:, ::-1][:, 1:]
