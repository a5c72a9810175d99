"""The native kernels through ctypes, which lets other threads run meanwhile."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privinf.protocols.kernels.packing import packed_bytes
from privinf.protocols.kernels.prg import BLOCK, U8, U64
from privinf.protocols.kernels.reference import I64, LEAF, U32, Lanes, leaf_index_bits
from privinf.protocols.kernels.separable import I32

ABI = 7
_SIGNATURES = {  # after the level; p: address, i: int, n: size_t, q: 64-bit number
    "dpf_gen": "ppnipppp",
    "dpf_points": "pippnipnip",
    "dpf_table": "pippnipqpnp",
    "dpf_whole": "pippnip",
    "onehot_gen": "ppniippp",
    "onehot_sum": "pippniipnp",
    "onehot_window": "pippniipnnp",
    "onehot_point": "pippniipnp",
    "separable_gen": "ppniipiipppp",
    "separable_eval": "pipppniiipqpnipp",
    "matmul64": "ppnnnnnp",
    "matmul52": "ppnnnnnp",
    "matmul32": "ppnnnnnp",
    "stream": "ppn",
    "pack": "pnip",
    "unpack": "pnip",
    "spread": "pnip",
}
_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "n": ctypes.c_size_t,
    "q": ctypes.c_uint64,
}


class NotAvailable(Exception):
    """The library is not built, or was built from other sources."""


def _path() -> Path:
    found = [Path(__file__).with_name("_native" + suffix) for suffix in EXTENSION_SUFFIXES]
    for path in found:
        if path.exists():
            return path
    raise NotAvailable("the native kernels are not built")


@cache
def library() -> tuple[ctypes.CDLL, int]:
    """The loaded library with its types set, and the fastest level that the processor runs."""
    try:
        loaded = ctypes.CDLL(str(_path()))
        if loaded.privinf_abi() != ABI:
            raise NotAvailable("the native kernels were built from other sources")
        for name, letters in _SIGNATURES.items():
            getattr(loaded, "privinf_" + name).argtypes = [ctypes.c_int, *(_TYPES[x] for x in letters)]
    except (OSError, AttributeError) as error:
        raise NotAvailable(f"the native kernels do not load: {error}") from None
    return loaded, int(loaded.privinf_level())


def _at(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class Native:
    """The kernels at one level of the library: 0 portable, 1 AES-NI with AVX2, 2 VAES with AVX-512."""

    def __init__(self, level: int) -> None:
        self._library, best = library()
        if level > best:
            raise NotAvailable("this processor lacks the instructions")
        self._level = level

    def _call(self, name: str, *arguments: object) -> None:
        if getattr(self._library, "privinf_" + name)(self._level, *arguments) != 0:
            raise MemoryError("no memory for the kernel's buffers")

    def dpf_gen(self, tree: bytes, alpha: U64, bits: int, roots0: U8, roots1: U8) -> tuple[U8, U8]:
        n = len(alpha)
        cw, sign = np.empty((max(bits - LEAF, 0) + 1, n, BLOCK), np.uint8), np.empty(n, np.uint8)
        self._call("dpf_gen", tree, _at(alpha), n, bits, _at(roots0), _at(roots1), _at(cw), _at(sign))
        return cw, sign

    def _dpf_points(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64, prefix: bool
    ) -> U8:
        out = np.empty(points.shape, np.uint8)
        key = (party, _at(roots), _at(cw), len(roots), bits)
        self._call("dpf_points", tree, *key, _at(points), len(points), prefix, _at(out))
        return out

    def dpf_prefix(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64) -> U8:
        return self._dpf_points(tree, party, roots, cw, bits, points, True)

    def dpf_bit(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64) -> U8:
        return self._dpf_points(tree, party, roots, cw, bits, points, False)

    def dpf_table(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, index: U64, start: int, table: I64
    ) -> U64:
        out = np.zeros(len(roots), np.uint64)
        key = (party, _at(roots), _at(cw), len(roots), bits)
        if len(table):
            self._call("dpf_table", tree, *key, _at(index), start, _at(table), len(table), _at(out))
        return out

    def dpf_whole(self, tree: bytes, party: int, roots: U8, cw: U8, bits: int) -> U8:
        out = np.empty((len(roots), BLOCK << max(bits - LEAF, 0)), np.uint8)
        self._call("dpf_whole", tree, party, _at(roots), _at(cw), len(roots), bits, _at(out))
        return out

    def onehot_gen(self, tree: bytes, alpha: U64, bits: int, lane: int, roots0: U8, roots1: U8) -> U8:
        cw = np.empty((max(bits - leaf_index_bits(lane), 0) + 1, len(alpha), BLOCK), np.uint8)
        self._call("onehot_gen", tree, _at(alpha), len(alpha), bits, lane, _at(roots0), _at(roots1), _at(cw))
        return cw

    def onehot_sum(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, index: U64, group: int
    ) -> Lanes:
        out = np.empty((len(roots) // group, 1 << bits), np.uint8 if lane == 8 else np.uint16)
        key = (party, _at(roots), _at(cw), len(roots), bits)
        self._call("onehot_sum", tree, *key, lane, _at(index), group, _at(out))
        return out

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
        out = np.empty((len(roots) // group, count), np.uint8 if lane == 8 else np.uint16)
        key = (party, _at(roots), _at(cw), len(roots), bits)
        self._call("onehot_window", tree, *key, lane, _at(index), group, count, _at(out))
        return out

    def onehot_point(
        self, tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, points: U64
    ) -> U64:
        out = np.empty(points.shape, np.uint64)
        key = (party, _at(roots), _at(cw), len(roots), bits)
        self._call("onehot_point", tree, *key, lane, _at(points), len(points), _at(out))
        return out

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
        n, lanes = len(mask), payload.shape[1]
        cw, last = np.empty((bits, n, BLOCK), np.uint8), np.empty((n, lanes * lane_bytes), np.uint8)
        given = (_at(mask), n, bits, low_bits, _at(payload), lanes, lane_bytes, _at(roots0), _at(roots1))
        self._call("separable_gen", tree, *given, _at(cw), _at(last))
        return cw, last

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
        out, near, lanes = np.empty(len(roots), np.uint64), len(tables), tables.shape[2]
        key = (party, _at(roots), _at(cw), _at(last), len(roots), bits, low_bits, lane_bytes)
        sums = (_at(index), first % 2**64, _at(tables), near, lanes, _at(far))
        self._call("separable_eval", tree, *key, *sums, _at(out))
        return out

    def _product(self, name: str, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        batch, m, k = a.shape
        n, shared = b.shape[2], len(b) == 1
        out = np.empty((batch, m, n), a.dtype)
        if shared:  # then all rows of a meet the same b
            batch, m = 1, batch * m
        if out.size:
            self._call(name, _at(a), _at(b), batch, 0 if shared else k * n * b.itemsize, m, k, n, _at(out))
        return out

    def ring_matmul(self, a: U64, b: U64) -> U64:
        return self._product("matmul64", a, b)

    def ring_matmul52(self, a: U64, b: U64) -> U64:
        return self._product("matmul52", a, b)

    def ring_matmul32(self, a: U32, b: U32) -> U32:
        return self._product("matmul32", a, b)

    def stream(self, key: bytes, nbytes: int) -> U8:
        out = np.empty(nbytes, np.uint8)
        self._call("stream", key, _at(out), nbytes)
        return out

    def pack(self, x: U64, bits: int) -> U8:
        out = np.empty(packed_bytes(len(x), bits), np.uint8)
        self._call("pack", _at(x), len(x), bits, _at(out))
        return out

    def spread(self, data: U8, bits: int, count: int) -> U64:
        out = np.empty(count, np.uint64)
        self._call("spread", _at(data), count, bits, _at(out))
        return out

    def unpack(self, data: U8, bits: int, count: int) -> U64:
        out = np.empty(count, np.uint64)
        self._call("unpack", _at(data), count, bits, _at(out))
        return out
