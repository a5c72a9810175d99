"""The kernels in plain NumPy: the meaning that every faster backend repeats byte for byte."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from privinf.protocols.kernels import excess as excesses
from privinf.protocols.kernels import packing, powers, separable
from privinf.protocols.kernels.prg import BLOCK, U8, U64, Use, hash_blocks, keystream
from privinf.protocols.kernels.trees import ONE, as_blocks, generate, walk, when, window

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
Lanes = NDArray[np.uint8 | np.uint16]  # as the lane says
LEAF = 7  # a leaf of the 1-bit function holds 2^7 outputs
WORK = 1 << 22  # leaf outputs held at once

name = "reference"
stream = keystream
pack, unpack, spread = packing.pack, packing.unpack, packing.spread
separable_gen = separable.separable_gen
separable_eval = separable.separable_eval
powers_gen, powers_eval = powers.powers_gen, powers.powers_eval
excess = excesses.excess


# ---------------------------------------------------------------- 1-bit point function


def point_key_shape(bits: int, count: int) -> tuple[int, int, int]:
    """Of the correction words of a function on `bits` bits: a block a level, and one for leaves of 2^7 outputs."""
    return max(bits - LEAF, 0) + 1, count, BLOCK


def dpf_gen(tree: bytes, alpha: U64, bits: int, roots0: U8, roots1: U8) -> tuple[U8, U8]:
    """Keys of 1{x = alpha} with 1-bit outputs, and party 0's own output bit at alpha."""
    depth, n = max(bits - LEAF, 0), len(alpha)
    alpha = alpha & np.uint64(2**bits - 1)
    cw, s, t = generate(tree, depth, bits, alpha, roots0, roots1)
    ends = [hash_blocks(tree, Use.FINAL, seeds) for seeds in s]
    low = alpha & np.uint64(127)
    cw[depth] = ends[0] ^ ends[1]
    cw[depth, np.arange(n), (low >> np.uint64(6)).astype(np.int64)] ^= ONE << (low & np.uint64(63))
    sign = _pick(ends[0] ^ when(t[0], cw[depth]), low).astype(np.uint8)
    return cw.view(np.uint8).reshape(depth + 1, n, 16), sign


def _leaf(tree: bytes, s: U64, t: U64, word: U64) -> U64:
    return hash_blocks(tree, Use.FINAL, s) ^ when(t, word)


def _pick(leaf: U64, low: U64) -> U64:
    """Bit `low` of each 128-bit leaf."""
    half: U64 = np.where(low >= 64, leaf[..., 1], leaf[..., 0])
    return (half >> (low & np.uint64(63))) & ONE


def _parity_through(leaf: U64, low: U64) -> U64:
    """Parity of bits 0..low of each 128-bit leaf."""
    mask = (np.uint64(2) << (low & np.uint64(63))) - ONE  # 2 << 63 wraps to 0: then the mask is all ones
    word = np.where(low >= 64, leaf[..., 0] ^ (leaf[..., 1] & mask), leaf[..., 0] & mask)
    return (np.bitwise_count(word) & np.uint8(1)).astype(np.uint64)


def dpf_prefix(tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64) -> U8:
    """XOR shares of 1{alpha <= q}: a right turn skips a left subtree of parity t_parent xor t_child."""
    depth, out, mask = len(cw) - 1, np.empty(points.shape, np.uint8), np.uint64(2**bits - 1)
    for row, q in enumerate(points & mask):
        path = list(walk(tree, party, roots, cw, depth, bits, q))
        parity, (s, t, _) = np.zeros(len(q), np.uint64), path[-1]
        for (_, above, _), (_, below, right) in pairwise(path):
            parity ^= right & (above ^ below)
        out[row] = parity ^ _parity_through(_leaf(tree, s, t, as_blocks(cw[depth])), q & np.uint64(127))
    return out


def dpf_bit(tree: bytes, party: int, roots: U8, cw: U8, bits: int, points: U64) -> U8:
    """XOR shares of 1{alpha = q}."""
    depth, out, mask = len(cw) - 1, np.empty(points.shape, np.uint8), np.uint64(2**bits - 1)
    for row, q in enumerate(points & mask):
        *_, (s, t, _) = walk(tree, party, roots, cw, depth, bits, q)
        out[row] = _pick(_leaf(tree, s, t, as_blocks(cw[depth])), q & np.uint64(127))
    return out


def dpf_whole(tree: bytes, party: int, roots: U8, cw: U8, bits: int) -> U8:
    """XOR shares of 1{alpha = q} for all q, packed by leaves from the lowest bit of the first byte up."""
    depth, n = len(cw) - 1, len(roots)
    s, t = window(tree, party, roots, cw, depth, np.zeros(n, np.uint64), 1 << depth)
    leaf = _leaf(tree, s, t, np.broadcast_to(as_blocks(cw[depth]), s.shape))
    return np.ascontiguousarray(leaf.transpose(1, 0, 2)).view(np.uint8).reshape(n, -1)


def _leaves(
    tree: bytes, party: int, roots: U8, cw: U8, bits: int, inner: int, low: U64, count: int
) -> tuple[U64, U64, tuple[I64, I64], U64]:
    """Seeds and control bits of the leaves with outputs low, low + 1, ..., and for each (N, count) leaf and place."""
    depth, first = len(cw) - 1, low >> np.uint64(inner)
    leaves = min(((count - 2 + (1 << inner)) >> inner) + 1, 1 << depth)
    s, t = window(tree, party, roots, cw, depth, first, leaves)
    steps: U64 = np.arange(count, dtype=np.uint64)
    at = (low[:, None] + steps) & np.uint64(2**bits - 1)
    row = (((at >> np.uint64(inner)) - first[:, None]) % np.uint64(1 << depth)).astype(np.int64)
    return s, t, (row, np.arange(len(low))[:, None]), at & np.uint64((1 << inner) - 1)


def _table_part(tree: bytes, party: int, roots: U8, cw: U8, bits: int, low: U64, turned: I64) -> U64:
    """Sums of e[low + j] * turned[j] for a few elements."""
    s, t, found, place = _leaves(tree, party, roots, cw, bits, LEAF, low, len(turned))
    leaf = _leaf(tree, s, t, np.broadcast_to(as_blocks(cw[-1]), s.shape))
    total: U64 = (_pick(leaf[found], place) * turned.view(np.uint64)).sum(axis=1, dtype=np.uint64)
    return total


def dpf_table(
    tree: bytes, party: int, roots: U8, cw: U8, bits: int, index: U64, start: int, table: I64
) -> U64:
    """Sums over k of (-1)^party e[(index - start - k) mod 2^bits] * table[k]."""
    n, count = len(index), len(table)
    out, step = np.zeros(n, np.uint64), max(1, WORK // max(count, 128))
    low = (index - np.uint64((start + count - 1) % 2**64)) & np.uint64(2**bits - 1)
    turned = np.ascontiguousarray(table[::-1])
    for at in range(0, n if count else 0, step):
        part = slice(at, at + step)
        out[part] = _table_part(tree, party, roots[part], cw[:, part], bits, low[part], turned)
    return out if party == 0 else np.uint64(0) - out


# ---------------------------------------------------------------- one-hot vectors over small rings


def leaf_index_bits(lane: int) -> int:
    """How many index bits a leaf block resolves when an output takes `lane` bits."""
    return (128 // lane).bit_length() - 1


def lane_key_shape(bits: int, lane: int, count: int) -> tuple[int, int, int]:
    """The same where leaves hold lanes."""
    return max(bits - leaf_index_bits(lane), 0) + 1, count, BLOCK


def _lanes(leaf: U64, lane: int) -> Lanes:  # (..., 2) -> (..., 128 // lane)
    return np.ascontiguousarray(leaf).view(np.uint8 if lane == 8 else np.uint16)


def _negate_where(condition: Any, values: Lanes) -> Lanes:
    """Negation in the values' own ring."""
    return np.where(condition == 1, np.zeros((), values.dtype) - values, values)


def onehot_gen(tree: bytes, alpha: U64, bits: int, lane: int, roots0: U8, roots1: U8) -> U8:
    """Keys of a vector of length 2^bits over Z_2^lane that is 1 at alpha and 0 elsewhere."""
    inner = leaf_index_bits(lane)
    depth, n = max(bits - inner, 0), len(alpha)
    alpha = alpha & np.uint64(2**bits - 1)
    cw, s, t = generate(tree, depth, bits, alpha, roots0, roots1)
    leaf = _lanes(hash_blocks(tree, Use.FINAL, s[1]), lane) - _lanes(hash_blocks(tree, Use.FINAL, s[0]), lane)
    leaf[np.arange(n), (alpha & np.uint64(2**inner - 1)).astype(np.int64)] += leaf.dtype.type(1)
    cw[depth] = _negate_where(t[1][:, None], leaf).view(np.uint64)
    return cw.view(np.uint8).reshape(depth + 1, n, 16)


def _leaf_lanes(tree: bytes, party: int, s: U64, t: U64, word: U64, lane: int) -> Lanes:
    plain, fix = _lanes(hash_blocks(tree, Use.FINAL, s), lane), _lanes(word, lane)
    return _negate_where(party, plain + fix * t[..., None].astype(fix.dtype))


def _run(tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, low: U64, count: int) -> Lanes:
    """Outputs (n, count) at low, low + 1, ... modulo 2^bits."""
    s, t, found, place = _leaves(tree, party, roots, cw, bits, leaf_index_bits(lane), low, count)
    lanes = _leaf_lanes(tree, party, s, t, np.broadcast_to(as_blocks(cw[-1]), s.shape), lane)
    return lanes[(*found, place.astype(np.int64))]


def onehot_window(
    tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, index: U64, group: int, count: int
) -> Lanes:
    """The first `count` columns of `onehot_sum`."""
    groups, step = len(index) // group, max(1, WORK // (group * max(count, 128)))
    out = np.empty((groups, count), np.uint8 if lane == 8 else np.uint16)
    low = (index - np.uint64(count - 1)) & np.uint64(2**bits - 1)
    for g in range(0, groups, step):
        part = slice(g * group, min(g + step, groups) * group)
        run = _run(tree, party, roots[part], cw[:, part], bits, lane, low[part], count)
        out[g : g + step] = run[:, ::-1].reshape(-1, group, count).sum(axis=1, dtype=out.dtype)
    return out


def onehot_sum(
    tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, index: U64, group: int
) -> Lanes:
    """Shares of the counts of (index - alpha) mod 2^bits in each group of consecutive elements."""
    return onehot_window(tree, party, roots, cw, bits, lane, index, group, 1 << bits)


def onehot_point(tree: bytes, party: int, roots: U8, cw: U8, bits: int, lane: int, points: U64) -> U64:
    """Shares modulo 2^lane of 1{alpha = q}."""
    depth, out, mask = len(cw) - 1, np.empty(points.shape, np.uint64), np.uint64(2**bits - 1)
    for row, q in enumerate(points & mask):
        *_, (s, t, _) = walk(tree, party, roots, cw, depth, bits, q)
        lanes = _leaf_lanes(tree, party, s, t, as_blocks(cw[depth]), lane)
        out[row] = lanes[np.arange(len(q)), (q & np.uint64(128 // lane - 1)).astype(np.int64)]
    return out


# ---------------------------------------------------------------- ring products


def ring_matmul(a: U64, b: U64, bits: int) -> U64:  # (B, M, K) x (B or 1, K, N) -> (B, M, N)
    """The product modulo 2^bits: torch's integer product where torch is installed, otherwise NumPy's."""
    keep = np.uint64(2**bits - 1)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return cast(U64, np.matmul(a, b) & keep)
    left, right = (torch.from_numpy(np.require(x, requirements=["A", "W"]).view(np.int64)) for x in (a, b))
    return cast(U64, torch.matmul(left, right).numpy().view(np.uint64) & keep)


def ring_matmul_planes(a: U64, low: U32, high: U8, bits: int) -> U64:
    """The product modulo 2^bits with a matrix whose numbers lie in planes, the lowest byte of `high` first."""
    shift = np.arange(32, 32 + 8 * high.shape[-1], 8, dtype=np.uint64)
    return ring_matmul(
        a, low.astype(np.uint64) | (high.astype(np.uint64) << shift).sum(-1, dtype=np.uint64), bits
    )


def ring_matmul32(a: U32, b: U32) -> U32:
    """The product modulo 2^32."""
    return cast(U32, np.matmul(a, b))
