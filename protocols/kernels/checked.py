"""The kernels as callers see them: arguments are checked here, once for every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privinf.protocols.kernels.interface import Backend
from privinf.protocols.kernels.packing import packed_bytes, width_of
from privinf.protocols.kernels.prg import BLOCK, STREAM_KEY_BYTES, TREE_BYTES, U8, U64
from privinf.protocols.kernels.reference import I64, LEAF, U32, Lanes, leaf_index_bits
from privinf.protocols.kernels.separable import I32

MAX_BITS = 62
MAX_DENSE_BITS = 20  # of a function evaluated on its whole domain: bounds the buffer of leaves
MAX_POINT_BITS = 16  # of a function with a payload vector, whose leaves are not shared by points
MAX_LOW_BITS = 20
MAX_LANES = 8


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _array(name: str, value: NDArray[Any], dtype: type[Any], shape: Sequence[int | None]) -> None:
    """A C-contiguous array of the exact dtype; None in the shape stands for any length.

    Messages are made where they are needed alone: most arrays of a decoder's pass are small, and checks add up.
    """
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array")
    if value.dtype != dtype:
        raise ValueError(f"{name} must have dtype {np.dtype(dtype)}, not {value.dtype}")
    given = value.shape
    if len(given) != len(shape) or any(w is not None and w != g for w, g in zip(shape, given, strict=True)):
        raise ValueError(f"{name} must have shape {tuple(shape)}, not {given}")
    if not value.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous")


def _number(name: str, value: int, low: int, high: int) -> None:
    if not (isinstance(value, int) and low <= value <= high):
        raise ValueError(f"{name} must be in [{low}, {high}]")


def _tree(tree: bytes) -> None:
    _require(isinstance(tree, bytes) and len(tree) == TREE_BYTES, f"tree must be {TREE_BYTES} bytes")


def _dealt(tree: bytes, alpha: U64, bits: int, roots0: U8, roots1: U8) -> None:
    _tree(tree)
    _number("bits", bits, 1, MAX_BITS)
    _array("alpha", alpha, np.uint64, (None,))
    _array("roots0", roots0, np.uint8, (len(alpha), BLOCK))
    _array("roots1", roots1, np.uint8, (len(alpha), BLOCK))


def _key(tree: bytes, party: int, roots: U8, cw: U8, words: int) -> None:
    _tree(tree)
    _number("party", party, 0, 1)
    _array("roots", roots, np.uint8, (None, BLOCK))
    _array("cw", cw, np.uint8, (words, len(roots), BLOCK))


def _point_key(
    tree: bytes, party: int, roots: U8, cw: U8, bits: int, inner: int, most: int = MAX_BITS
) -> None:
    _number("bits", bits, 1, most)
    _key(tree, party, roots, cw, max(bits - inner, 0) + 1)


def _lane(lane: int) -> int:
    _require(lane in (8, 16), "lane must be 8 or 16")
    return leaf_index_bits(lane)


def _separable(bits: int, low_bits: int, lane_bytes: int) -> None:
    _number("bits", bits, 1, MAX_POINT_BITS)
    _number("low_bits", low_bits, 0, MAX_LOW_BITS)
    _number("lane_bytes", lane_bytes, 4, 8)


def _tables(bits: int, low_bits: int, first: int, tables: I32, far: I64) -> None:
    half = 1 << (bits - 1)
    _array("tables", tables, np.int32, (None, 1 << low_bits, None))
    near, lanes = len(tables), tables.shape[2]
    _require(1 <= lanes <= MAX_LANES, f"tables must have 1 to {MAX_LANES} lanes")
    _require(1 <= near <= 2 * half, f"tables must be for 1 to 2^bits = {2 * half} distances, not {near}")
    _number("first", first, -half, half - near)
    _array("far", far, np.int64, (3,))
    _require(lanes >= 2 or not far.any(), "far must be zero where tables have one lane")


class Kernels:
    """One backend behind checked arguments.

    N elements, keys level-major; points, index and alpha count modulo 2^bits. tree: the AES keys of the gate's trees,
    those under which they were made. Any C-contiguous array will do: read-only and unaligned views of a received
    buffer are read in place.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend, self.name = backend, name

    def dpf_gen(self, tree: bytes, alpha: U64, bits: int, roots0: U8, roots1: U8) -> tuple[U8, U8]:
        """Keys of 1{x = alpha}: (cw (max(bits - 7, 0) + 1, N, 16), party 0's output bit at alpha (N,))."""
        _dealt(tree, alpha, bits, roots0, roots1)
        return self._backend.dpf_gen(tree, alpha, bits, roots0, roots1)

    def dpf_prefix(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64) -> U8:
        """XOR shares (P, N) of 1{alpha <= q} for points q (P, N)."""
        _point_key(tree, party, roots, cw, bits, LEAF)
        _array("points", points, np.uint64, (None, len(roots)))
        return self._backend.dpf_prefix(tree, party, roots, cw, bits, points)

    def dpf_bit(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64) -> U8:
        """XOR shares (P, N) of 1{alpha = q} for points q (P, N)."""
        _point_key(tree, party, roots, cw, bits, LEAF)
        _array("points", points, np.uint64, (None, len(roots)))
        return self._backend.dpf_bit(tree, party, roots, cw, bits, points)

    def dpf_table(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, index: U64, start: int, table: I64
    ) -> U64:
        """Shares (N,) of table[index - alpha - start] or 0 outside; negated where dpf_gen's sign is 0."""
        _point_key(tree, party, roots, cw, bits, LEAF)
        _array("index", index, np.uint64, (len(roots),))
        _array("table", table, np.int64, (None,))
        _require(len(table) <= 1 << bits, "table must have at most 2^bits entries")
        _require(isinstance(start, int), "start must be an integer")
        return self._backend.dpf_table(tree, party, roots, cw, bits, index, start % (1 << bits), table)

    def dpf_whole(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int) -> U8:
        """XOR shares (N, 2^bits) of 1{alpha = q} for every q, one byte each."""
        _point_key(tree, party, roots, cw, bits, LEAF, MAX_DENSE_BITS)
        packed = self._backend.dpf_whole(tree, party, roots, cw, bits)
        return np.unpackbits(packed, axis=1, count=1 << bits, bitorder="little")

    def onehot_gen(self, tree: bytes, alpha: U64, bits: int, lane: int, roots0: U8, roots1: U8) -> U8:
        """Keys of a vector over Z_2^lane, 1 at alpha: cw (max(bits - log2(128 / lane), 0) + 1, N, 16)."""
        _lane(lane)
        _dealt(tree, alpha, bits, roots0, roots1)
        return self._backend.onehot_gen(tree, alpha, bits, lane, roots0, roots1)

    def onehot_sum(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, index: U64, group: int
    ) -> Lanes:
        """Shares (N / group, 2^bits) of the counts of (index - alpha) mod 2^bits in each group."""
        _point_key(tree, party, roots, cw, bits, _lane(lane), MAX_DENSE_BITS)
        _array("index", index, np.uint64, (len(roots),))
        _number("group", group, 1, 2**62)
        _require(len(roots) % group == 0, "the number of elements must be a multiple of group")
        return self._backend.onehot_sum(tree, party, roots, cw, bits, lane, index, group)

    def onehot_window(
        self,
        tree: bytes,
        party: int,
        roots: U8,
        cw: U8,
        bits: int,
        lane: int,
        index: U64,
        group: int,
        count: int,
    ) -> Lanes:
        """The first `count` columns of `onehot_sum`, at the cost of the leaves that they touch."""
        inner = _lane(lane)
        _point_key(tree, party, roots, cw, bits, inner)
        _array("index", index, np.uint64, (len(roots),))
        _number("group", group, 1, 2**62)
        _number("count", count, 1, 1 << min(bits, MAX_DENSE_BITS))
        _require(len(roots) % group == 0, "the number of elements must be a multiple of group")
        leaves = ((count + (1 << inner) - 2) >> inner) + 1
        if leaves >= 1 << max(bits - inner, 0):
            whole = self._backend.onehot_sum(tree, party, roots, cw, bits, lane, index, group)
            return np.ascontiguousarray(whole[:, :count])
        return self._backend.onehot_window(tree, party, roots, cw, bits, lane, index, group, count)

    def onehot_point(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, points: U64
    ) -> U64:
        """Shares (P, N) modulo 2^lane of 1{alpha = q}, each below 2^lane."""
        _point_key(tree, party, roots, cw, bits, _lane(lane))
        _array("points", points, np.uint64, (None, len(roots)))
        return self._backend.onehot_point(tree, party, roots, cw, bits, lane, points)

    def separable_gen(
        self,
        tree: bytes,
        mask: U64,
        bits: int,
        low_bits: int,
        payload: I64,
        lane_bytes: int,
        roots0: U8,
        roots1: U8,
    ) -> tuple[U8, U8]:
        """Keys of the vector payload[mask mod 2^low_bits] at (mask >> low_bits) mod 2^bits, 0 elsewhere.

        (cw (bits, N, 16), corrections of the R lanes (N, R * lane_bytes), little-endian).
        """
        _tree(tree)
        _separable(bits, low_bits, lane_bytes)
        _array("mask", mask, np.uint64, (None,))
        _array("payload", payload, np.int64, (1 << low_bits, None))
        _require(1 <= payload.shape[1] <= MAX_LANES, f"payload must have 1 to {MAX_LANES} lanes")
        _array("roots0", roots0, np.uint8, (len(mask), BLOCK))
        _array("roots1", roots1, np.uint8, (len(mask), BLOCK))
        return self._backend.separable_gen(tree, mask, bits, low_bits, payload, lane_bytes, roots0, roots1)

    def separable_eval(
        self,
        tree: bytes,
        party: int,
        roots: U8,
        cw: U8,
        last: U8,
        bits: int,
        low_bits: int,
        lane_bytes: int,
        index: U64,
        first: int,
        tables: I32,
        far: I64,
    ) -> U64:
        """Shares (N,) modulo 2^(8 lane_bytes), with v(p) the vector at point p mod 2^bits, h and l the index's
        bits from low_bits on and below, of the sum over distances j from `first` of tables[j - first, l] . v(h - j),
        and over those after the tables, below 2^(bits - 1), of (far[0] (j 2^low_bits + l) + far[1]) v_0(h - j) +
        far[2] v_1(h - j). The latter are not visited where far is zero.
        """
        _separable(bits, low_bits, lane_bytes)
        _tables(bits, low_bits, first, tables, far)
        _key(tree, party, roots, cw, bits)
        _array("last", last, np.uint8, (len(roots), tables.shape[2] * lane_bytes))
        _array("index", index, np.uint64, (len(roots),))
        return self._backend.separable_eval(
            tree, party, roots, cw, last, bits, low_bits, lane_bytes, index, first, tables, far
        )

    def ring_matmul(self, a: U64, b: U64) -> U64:
        """a (B, M, K) times b (B or 1, K, N) modulo 2^64: (B, M, N)."""
        _product(a, b, np.uint64)
        return self._backend.ring_matmul(a, b)

    def ring_matmul52(self, a: U64, b: U64) -> U64:
        """a (B, M, K) times b (B or 1, K, N) modulo 2^52: (B, M, N); higher bits of a and b do not matter."""
        _product(a, b, np.uint64)
        return self._backend.ring_matmul52(a, b)

    def ring_matmul32(self, a: U32, b: U32) -> U32:
        """a (B, M, K) times b (B or 1, K, N) modulo 2^32: (B, M, N)."""
        _product(a, b, np.uint32)
        return self._backend.ring_matmul32(a, b)

    def stream(self, key: bytes, nbytes: int) -> U8:
        """The first bytes of AES-128 in counter mode; key: the AES key, then the first counter, modulo 2^128."""
        _require(
            isinstance(key, bytes) and len(key) == STREAM_KEY_BYTES, f"key must be {STREAM_KEY_BYTES} bytes"
        )
        _number("nbytes", nbytes, 0, 2**62)
        return self._backend.stream(key, nbytes)

    def pack(self, x: U64, bits: int) -> U8:
        """x (N,) modulo 2^bits, bit after bit from the lowest of the first byte up, in whole bytes together."""
        _number("bits", bits, 1, 64)
        _array("x", x, np.uint64, (None,))
        return self._backend.pack(x, bits)

    def unpack(self, data: U8, bits: int, count: int) -> U64:
        """Inverse of `pack`: (count,) elements; what fills the last byte is cut off."""
        _number("bits", bits, 1, 64)
        _number("count", count, 0, 2**52)
        _array("data", data, np.uint8, (packed_bytes(count, bits),))
        return self._backend.unpack(data, bits, count)

    def spread(self, data: U8, bits: int, count: int) -> U64:
        """(count,) elements of `bits` bits from whole bytes each, surplus high bits cut off: for random bytes."""
        _number("bits", bits, 1, 64)
        _number("count", count, 0, 2**52)
        _array("data", data, np.uint8, (count * width_of(bits),))
        return self._backend.spread(data, bits, count)


def _product(a: NDArray[Any], b: NDArray[Any], dtype: type[Any]) -> None:
    _array("a", a, dtype, (None, None, None))
    _array("b", b, dtype, (None, a.shape[2], None))
    _require(len(b) in (1, len(a)), f"b must have shape (1 or {len(a)}, ...), not {b.shape}")
