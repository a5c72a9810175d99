"""Sums of table rows times a payload vector at a hidden point, in plain NumPy: the reference of `separable_*`.

Lanes of a leaf come from keys of their own, never from seed bits: a lane's lowest bit would betray alpha there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privinf.protocols.kernels.prg import FINALS, U8, U64, hash_blocks
from privinf.protocols.kernels.trees import generate, window

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
WORK = 1 << 20  # leaf lanes held at once


def _lanes(tree: bytes, seeds: U64, count: int) -> U64:  # (..., 2) -> (..., count)
    blocks = [hash_blocks(tree, use, seeds) for use in FINALS[: (count + 1) // 2]]
    return np.concatenate(blocks, axis=-1)[..., :count]


def _cut(values: U64, bits: int) -> U64:
    return values & np.uint64(2**bits - 1)


def separable_gen(
    tree: bytes, mask: U64, bits: int, low_bits: int, payload: I64, lane_bytes: int, roots0: U8, roots1: U8
) -> tuple[U8, U8]:
    """Keys of payload[mask mod 2^low_bits] at the point that the next `bits` bits of the mask say, 0 elsewhere."""
    n, lanes = len(mask), payload.shape[1]
    cw, s, t = generate(tree, bits, bits, _cut(mask >> np.uint64(low_bits), bits), roots0, roots1)
    chosen = payload[_cut(mask, low_bits).astype(np.int64)].view(np.uint64)
    last = chosen - _lanes(tree, s[0], lanes) + _lanes(tree, s[1], lanes)
    last = np.where(t[1][:, None] == 1, np.uint64(0) - last, last)
    cut = np.ascontiguousarray(last).view(np.uint8).reshape(n, lanes, 8)[..., :lane_bytes]
    return cw[:bits].view(np.uint8).reshape(bits, n, 16), np.ascontiguousarray(cut).reshape(
        n, lanes * lane_bytes
    )


def _corrections(last: U8, lane_bytes: int) -> U64:  # (N, R * lane_bytes) -> (N, R)
    lanes = last.reshape(len(last), last.shape[1] // lane_bytes, lane_bytes)
    wide = np.zeros((*lanes.shape[:2], 8), np.uint8)
    wide[..., :lane_bytes] = lanes
    return wide.view(np.uint64)[..., 0]


def _far_sum(share: U64, low: U64, low_bits: int, begin: int, far: list[int]) -> U64:
    """The linear part at distances begin, begin + 1, ... from shares (distances, N, at least 2 lanes)."""
    slope, offset, other = (np.uint64(x % 2**64) for x in far)
    steps = np.arange(begin, begin + len(share), dtype=np.int64).astype(np.uint64)
    at = (steps << np.uint64(low_bits))[:, None] + low
    total: U64 = ((slope * at + offset) * share[..., 0] + other * share[..., 1]).sum(axis=0, dtype=np.uint64)
    return total


def _part(
    tree: bytes,
    party: int,
    roots: U8,
    cw: U8,
    correction: U64,
    low_bits: int,
    index: U64,
    first: int,
    tables: I32,
    far: I64,
) -> U64:
    bits, near, lanes = len(cw), len(tables), tables.shape[2]
    end = 2 ** (bits - 1) if far.any() else first + near
    high, low = _cut(index >> np.uint64(low_bits), bits), _cut(index, low_bits)
    s, t = window(tree, party, roots, cw, bits, _cut(high - np.uint64((end - 1) % 2**64), bits), end - first)
    s, t = s[::-1], t[::-1]  # by distance from the index: first, first + 1, ..., end - 1
    share = _lanes(tree, s[:near], lanes) + t[:near, :, None] * correction
    total: U64 = np.zeros(len(index), np.uint64)
    for rows, values in zip(tables[:, low.astype(np.int64)], share, strict=True):
        total += (rows.astype(np.int64).view(np.uint64) * values).sum(axis=1, dtype=np.uint64)
    if end > first + near:
        share = _lanes(tree, s[near:], 2) + t[near:, :, None] * correction[:, :2]
        total += _far_sum(share, low, low_bits, first + near, far.tolist())
    return total if party == 0 else np.uint64(0) - total


def separable_eval(
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
    """Shares (N,) modulo 2^(8 lane_bytes) of the row sums at the index: tables near, a linear function beyond."""
    n, out = len(index), np.empty(len(index), np.uint64)
    correction = _corrections(last, lane_bytes)
    step = max(1, WORK // (tables.shape[2] << bits))
    for at in range(0, n, step):
        part = slice(at, at + step)
        key = roots[part], cw[:, part], correction[part]
        out[part] = _part(tree, party, *key, low_bits, index[part], first, tables, far)
    return _cut(out, 8 * lane_bytes)
