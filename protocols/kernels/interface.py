"""What a backend of the kernels implements."""

from __future__ import annotations

from typing import Protocol

from privinf.protocols.kernels.prg import U8, U64
from privinf.protocols.kernels.reference import I64, U32, Lanes
from privinf.protocols.kernels.separable import I32


class Backend(Protocol):
    """The kernels; the arguments are known to be right, for `checked` has seen them.

    tree: the AES keys of the gate's trees, TREE_BYTES; key: of a stream, STREAM_KEY_BYTES.
    """

    def dpf_gen(self, tree: bytes, alpha: U64, bits: int, roots0: U8, roots1: U8, /) -> tuple[U8, U8]: ...
    def dpf_prefix(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64, /) -> U8: ...
    def dpf_bit(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64, /) -> U8: ...
    def dpf_whole(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, /) -> U8: ...
    def dpf_table(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, index: U64, start: int, table: I64, /
    ) -> U64: ...
    def onehot_gen(self, tree: bytes, alpha: U64, bits: int, lane: int, roots0: U8, roots1: U8, /) -> U8: ...
    def onehot_sum(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, index: U64, group: int, /
    ) -> Lanes: ...
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
        /,
    ) -> Lanes: ...
    def onehot_point(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, points: U64, /
    ) -> U64: ...
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
        /,
    ) -> tuple[U8, U8]: ...
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
        /,
    ) -> U64: ...
    def ring_matmul(self, a: U64, b: U64, /) -> U64: ...
    def ring_matmul52(self, a: U64, b: U64, /) -> U64: ...
    def ring_matmul32(self, a: U32, b: U32, /) -> U32: ...
    def stream(self, key: bytes, nbytes: int, /) -> U8: ...
    def pack(self, x: U64, bits: int, /) -> U8: ...
    def spread(self, data: U8, bits: int, count: int, /) -> U64: ...
    def unpack(self, data: U8, bits: int, count: int, /) -> U64: ...
