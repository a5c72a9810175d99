"""The kernels: what each of them takes and gives, from which its checks, its ctypes and its exported name are made.

N elements, keys level-major; points, index and alpha count modulo 2^bits. Any C-contiguous array will do: read-only and
unaligned views of a received buffer are read in place.
"""

from __future__ import annotations

from typing import Annotated, Protocol, TypeAlias

import numpy as np

from privinf.protocols.kernels.excess import COMBINATIONS
from privinf.protocols.kernels.packing import packed_bytes, width_of
from privinf.protocols.kernels.prg import BLOCK, STREAM_KEY_BYTES, TREE_BYTES, U8, U64
from privinf.protocols.kernels.reference import I64, LEAF, U32, Lanes, leaf_index_bits
from privinf.protocols.kernels.separable import I32
from privinf.protocols.kernels.signature import Array, Between, Exactly, Where

MAX_BITS = 62
MAX_DENSE_BITS = 20  # of a function evaluated on its whole domain: bounds the buffer of leaves
MAX_POINT_BITS = 16  # of a function with a payload vector, whose leaves are not shared by points
MAX_LOW_BITS = 20
MAX_LANES = 8
MAX_POWER_LANES = 4
MOST = 2**62


def lane_type(lane: int) -> type[np.generic]:
    """The ring of a lane."""
    return np.uint8 if lane == 8 else np.uint16


def groups(n: int, group: int) -> int:
    """How many groups of consecutive elements there are."""
    return n // group


# The AES keys of the gate's trees, those under which they were made.
Tree: TypeAlias = Annotated[bytes, Exactly(TREE_BYTES)]
Party: TypeAlias = Annotated[int, Between(0, 1)]
Bits: TypeAlias = Annotated[int, Between(1, MAX_BITS)]
DenseBits: TypeAlias = Annotated[int, Between(1, MAX_DENSE_BITS)]
PointBits: TypeAlias = Annotated[int, Between(1, MAX_POINT_BITS)]
LowBits: TypeAlias = Annotated[int, Between(0, MAX_LOW_BITS)]
LaneBytes: TypeAlias = Annotated[int, Between(4, 8)]
Width: TypeAlias = Annotated[int, Between(1, 64)]
Count: TypeAlias = Annotated[int, Between(0, 2**52)]
Lane: TypeAlias = Annotated[int, Between(8, 16), Where(lambda lane: lane in (8, 16), "lane must be 8 or 16")]
Group: TypeAlias = Annotated[
    int,
    Between(1, MOST),
    Where(lambda n, group: n % group == 0, "the number of elements must be a multiple of group"),
]
Elements: TypeAlias = Annotated[U64, Array(np.uint64, "n")]
Roots: TypeAlias = Annotated[U8, Array(np.uint8, "n", BLOCK)]
PointKey: TypeAlias = Annotated[U8, Array(np.uint8, lambda bits: max(bits - LEAF, 0) + 1, "n", BLOCK)]
OneHotKey: TypeAlias = Annotated[
    U8, Array(np.uint8, lambda bits, lane: max(bits - leaf_index_bits(lane), 0) + 1, "n", BLOCK)
]
VectorKey: TypeAlias = Annotated[U8, Array(np.uint8, lambda bits: bits, "n", BLOCK)]
Last: TypeAlias = Annotated[U8, Array(np.uint8, "n", lambda lanes, lane_bytes: lanes * lane_bytes)]
Points: TypeAlias = Annotated[U64, Array(np.uint64, "rows", "n")]
Signs: TypeAlias = Annotated[U8, Array(np.uint8, "n")]
Found: TypeAlias = Annotated[U8, Array(np.uint8, "rows", "n")]
Left: TypeAlias = Annotated[U64, Array(np.uint64, "batch", "m", "k")]
ONE_OR_ALL = Where(lambda batch, shared: shared in (1, batch), "b must have shape (1, ...) or as many as a")
Right: TypeAlias = Annotated[U64, Array(np.uint64, "shared", "k", "columns"), ONE_OR_ALL]
Product: TypeAlias = Annotated[U64, Array(np.uint64, "batch", "m", "columns")]
Payload: TypeAlias = Annotated[
    I64,
    Array(np.int64, lambda low_bits: 1 << low_bits, "lanes"),
    Where(lambda lanes: 1 <= lanes <= MAX_LANES, f"payload must have 1 to {MAX_LANES} lanes"),
]
Near: TypeAlias = Annotated[
    I32,
    Array(np.int32, "near", lambda low_bits: 1 << low_bits, "lanes"),
    Where(lambda lanes: 1 <= lanes <= MAX_LANES, f"tables must have 1 to {MAX_LANES} lanes"),
]
First: TypeAlias = Annotated[
    int,
    Between(-MOST, MOST),
    Where(lambda near, bits: 1 <= near <= 1 << bits, "tables must be for 1 to 2^bits distances"),
    Where(
        lambda first, near, bits: -(1 << (bits - 1)) <= first <= (1 << (bits - 1)) - near,
        "first must be a distance with room for the tables, within 2^(bits-1)",
    ),
]
Line: TypeAlias = Annotated[
    I64,
    Array(np.int64, 3),
    Where(lambda far, lanes: lanes >= 2 or not far.any(), "far must be zero where tables have one lane"),
]
RingBits: TypeAlias = Annotated[int, Between(4, 64)]
Octave: TypeAlias = Annotated[int, Between(2, 63)]
LastOctave: TypeAlias = Annotated[
    int,
    Between(3, 63),
    Where(lambda low, high: low < high, "low must be below high"),
    Where(lambda high, bits: high < bits, "high must be below bits"),
]
PowerLanes: TypeAlias = Annotated[int, Between(1, MAX_POWER_LANES)]
Fraction: TypeAlias = Annotated[int, Between(0, 24)]
Step: TypeAlias = Annotated[
    int,
    Between(0, 24),
    Where(
        lambda fine, step, lanes: step * (lanes - 2) <= fine, "step leaves a lane less than no fraction bits"
    ),
]
Halves: TypeAlias = Annotated[int, Between(1, 2)]
Numerator: TypeAlias = Annotated[int, Between(1, 2**52)]
PowerScale: TypeAlias = Annotated[
    int,
    Between(0, 62),
    Where(
        lambda scale, numerator, low, halves: numerator**halves << 2 * scale <= 1 << (96 + halves * low),
        "scale must keep the power of 2^low within 2^48",
    ),
]
OctaveKey: TypeAlias = Annotated[U8, Array(np.uint8, lambda bits, low: max(bits - low, 0) + 2, "n", BLOCK)]
OctaveLanes: TypeAlias = Annotated[
    U64, Array(np.uint64, lambda low, high: max(high - low, 0), "n", lambda lanes: lanes)
]
Columns: TypeAlias = Annotated[
    int,
    Between(1, 1 << MAX_DENSE_BITS),
    Where(lambda count, bits: count <= 1 << bits, "count must be at most 2^bits"),
]
Entries: TypeAlias = Annotated[
    I64,
    Array(np.int64, "count"),
    Where(lambda count, bits: count <= 1 << bits, "table must have at most 2^bits entries"),
]
Packed: TypeAlias = Annotated[U8, Array(np.uint8, lambda bits, count: packed_bytes(count, bits))]
Spread: TypeAlias = Annotated[U8, Array(np.uint8, lambda bits, count: count * width_of(bits))]
Listed: TypeAlias = Annotated[U64, Array(np.uint64, "count")]
Packing: TypeAlias = Annotated[U8, Array(np.uint8, lambda n, bits: packed_bytes(n, bits))]
Sums: TypeAlias = Annotated[Lanes, Array(lane_type, groups, lambda bits: 1 << bits)]
Window: TypeAlias = Annotated[Lanes, Array(lane_type, groups, "count")]


class Kernels(Protocol):
    """One backend behind checked arguments, which are given by their place."""

    @property
    def name(self) -> str:
        """What the backend calls itself."""
        ...

    def dpf_gen(
        self, tree: Tree, alpha: Elements, bits: Bits, roots0: Roots, roots1: Roots, /
    ) -> tuple[PointKey, Signs]:
        """Keys of 1{x = alpha}, and party 0's output bit at alpha."""
        ...

    def dpf_prefix(
        self, tree: Tree, party: Party, roots: Roots, cw: PointKey, bits: Bits, points: Points, /
    ) -> Found:
        """XOR shares (P, N) of 1{alpha <= q} for points q (P, N)."""
        ...

    def dpf_bit(
        self, tree: Tree, party: Party, roots: Roots, cw: PointKey, bits: Bits, points: Points, /
    ) -> Found:
        """XOR shares (P, N) of 1{alpha = q} for points q (P, N)."""
        ...

    def dpf_whole(
        self, tree: Tree, party: Party, roots: Roots, cw: PointKey, bits: DenseBits, /
    ) -> Annotated[U8, Array(np.uint8, "n", lambda bits: BLOCK << max(bits - LEAF, 0))]:
        """XOR shares of 1{alpha = q} for every q, a bit each from the lowest of the first byte up, in whole leaves."""
        ...

    def dpf_table(
        self,
        tree: Tree,
        party: Party,
        roots: Roots,
        cw: PointKey,
        bits: Bits,
        index: Elements,
        start: Annotated[int, Between(-MOST, MOST)],
        table: Entries,
        /,
    ) -> Elements:
        """Shares (N,) of table[index - alpha - start] or 0 outside; negated where dpf_gen's sign is 0."""
        ...

    def onehot_gen(
        self, tree: Tree, alpha: Elements, bits: Bits, lane: Lane, roots0: Roots, roots1: Roots, /
    ) -> OneHotKey:
        """Keys of a vector over Z_2^lane that is 1 at alpha."""
        ...

    def onehot_sum(
        self,
        tree: Tree,
        party: Party,
        roots: Roots,
        cw: OneHotKey,
        bits: DenseBits,
        lane: Lane,
        index: Elements,
        group: Group,
        /,
    ) -> Sums:
        """Shares (N / group, 2^bits) of the counts of (index - alpha) mod 2^bits in each group."""
        ...

    def onehot_window(
        self,
        tree: Tree,
        party: Party,
        roots: Roots,
        cw: OneHotKey,
        bits: Bits,
        lane: Lane,
        index: Elements,
        group: Group,
        count: Columns,
        /,
    ) -> Window:
        """The first `count` columns of `onehot_sum`, at the cost of the leaves that they touch."""
        ...

    def onehot_point(
        self, tree: Tree, party: Party, roots: Roots, cw: OneHotKey, bits: Bits, lane: Lane, points: Points, /
    ) -> Points:
        """Shares (P, N) modulo 2^lane of 1{alpha = q}, each below 2^lane."""
        ...

    def separable_gen(
        self,
        tree: Tree,
        mask: Elements,
        bits: PointBits,
        low_bits: LowBits,
        payload: Payload,
        lane_bytes: LaneBytes,
        roots0: Roots,
        roots1: Roots,
        /,
    ) -> tuple[VectorKey, Last]:
        """Keys of the vector payload[mask mod 2^low_bits] at (mask >> low_bits) mod 2^bits, 0 elsewhere.

        The second are corrections of the R lanes, little-endian.
        """
        ...

    def separable_eval(
        self,
        tree: Tree,
        party: Party,
        roots: Roots,
        cw: VectorKey,
        last: Last,
        bits: PointBits,
        low_bits: LowBits,
        lane_bytes: LaneBytes,
        index: Elements,
        first: First,
        tables: Near,
        far: Line,
        /,
    ) -> Elements:
        """Shares (N,) modulo 2^(8 lane_bytes), with v(p) the vector at point p mod 2^bits, h and l the index's
        bits from low_bits on and below, of the sum over distances j from `first` of tables[j - first, l] . v(h - j),
        and over those after the tables, below 2^(bits - 1), of (far[0] (j 2^low_bits + l) + far[1]) v_0(h - j) +
        far[2] v_1(h - j). The latter are not visited where far is zero; where tables have one lane, far is zero.
        """
        ...

    def powers_gen(
        self,
        tree: Tree,
        mask: Elements,
        bits: RingBits,
        low: Octave,
        high: LastOctave,
        lanes: PowerLanes,
        fine: Fraction,
        step: Step,
        roots0: Roots,
        roots1: Roots,
        /,
    ) -> tuple[OctaveKey, OctaveLanes]:
        """Keys of polynomials of the mask's low bits, at its own node of each level from 2^(high - 3) to 2^(low - 2).

        The second are corrections of the lanes, which have 0, fine, fine - step, ... fraction bits.
        """
        ...

    def powers_eval(
        self,
        tree: Tree,
        party: Party,
        roots: Roots,
        cw: OctaveKey,
        values: OctaveLanes,
        bits: RingBits,
        low: Octave,
        high: LastOctave,
        lanes: PowerLanes,
        fine: Fraction,
        step: Step,
        halves: Halves,
        numerator: Numerator,
        scale: PowerScale,
        index: Elements,
        /,
    ) -> Elements:
        """Shares (N,) modulo 2^64 of 2^scale (numerator / S)^(halves / 2), S the index less the mask mod 2^bits.

        It is constant below 2^low and from 2^high on; S must stay 2^(high - 3) below 2^bits.
        """
        ...

    def ring_matmul(self, a: Left, b: Right, bits: Width, /) -> Product:
        """a (B, M, K) times b (B or 1, K, N) modulo 2^bits; higher bits of a and b do not matter."""
        ...

    def ring_matmul_planes(
        self,
        a: Left,
        low: Annotated[U32, Array(np.uint32, "shared", "k", "columns"), ONE_OR_ALL],
        high: Annotated[U8, Array(np.uint8, "shared", "k", "columns", lambda bits: 1 if bits <= 40 else 2)],
        bits: Annotated[int, Between(33, 48)],
        /,
    ) -> Product:
        """a (B, M, K) times b modulo 2^bits; b's low 32 bits lie in one array, the next 8 or 16 in another."""
        ...

    def ring_matmul32(
        self,
        a: Annotated[U32, Array(np.uint32, "batch", "m", "k")],
        b: Annotated[U32, Array(np.uint32, "shared", "k", "columns"), ONE_OR_ALL],
        /,
    ) -> Annotated[U32, Array(np.uint32, "batch", "m", "columns")]:
        """a times b, of 32 bits each, modulo 2^32."""
        ...

    def excess(
        self,
        coins: Annotated[bytes, Exactly(STREAM_KEY_BYTES)],
        party: Party,
        high: Elements,
        shift: Annotated[int, Between(0, 63)],
        up: Annotated[int, Between(0, 62)],
        mask: Elements,
        index: Elements,
        bits: Annotated[int, Between(4, MAX_BITS)],
        dealt: Elements,
        steps: Annotated[int, Between(1, 3)],
        /,
    ) -> Annotated[U64, Array(np.uint64, COMBINATIONS)]:
        """Combinations modulo 4, by coins from a stream, of what an opening cut off above `bits` bits: excess.py."""
        ...

    def stream(
        self, key: Annotated[bytes, Exactly(STREAM_KEY_BYTES)], nbytes: Annotated[int, Between(0, MOST)], /
    ) -> Annotated[U8, Array(np.uint8, "nbytes")]:
        """The first bytes of AES-128 in counter mode; key: the AES key, then the first counter, modulo 2^128."""
        ...

    def pack(self, x: Elements, bits: Width, /) -> Packing:
        """x (N,) modulo 2^bits, bit after bit from the lowest of the first byte up, in whole bytes together."""
        ...

    def unpack(self, data: Packed, bits: Width, count: Count, /) -> Listed:
        """Inverse of `pack`; what fills the last byte is cut off."""
        ...

    def spread(self, data: Spread, bits: Width, count: Count, /) -> Listed:
        """Elements of `bits` bits from whole bytes each, surplus high bits cut off: for random bytes."""
        ...
