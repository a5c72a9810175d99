"""Walks down generator trees in NumPy: the steps that all reference functions share.

Trees follow Boyle, Gilboa and Ishai (2016). A seed has its two lowest bits cleared; a control bit is
the lowest bit of the hash; bits 0 and 1 of a correction word hold the children's control corrections.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from privinf.protocols.kernels.prg import U8, U64, Use, hash_blocks

ONE = np.uint64(1)
SEED = np.uint64(2**64 - 4)


def as_blocks(raw: U8) -> U64:  # (..., 16) -> (..., 2)
    """Blocks as their low and high 64-bit halves."""
    return raw.view(np.uint64)


def when(condition: U64, blocks: U64) -> U64:
    """The blocks where the condition bit is one, zero elsewhere."""
    return blocks * condition[..., None]


def _bit(values: U64, position: int) -> U64:
    return (values >> np.uint64(position)) & ONE


def roots_of(raw: U8) -> U64:
    """Seeds of roots, their two lowest bits cleared."""
    seeds = as_blocks(raw).copy()
    seeds[:, 0] &= SEED
    return seeds


def advance(tree: bytes, s: U64, t: U64, word: U64, right: U64) -> tuple[U64, U64]:
    """The child's seed and control bit, in each element's own direction."""
    hashed = np.empty_like(s)
    for side in (0, 1):
        chosen = right == side
        hashed[chosen] = hash_blocks(tree, Use(Use.SEED_LEFT + side), s[chosen])
    t_child = (hashed[..., 0] & ONE) ^ (t & (word[..., 0] >> right))
    seeds = hashed ^ when(t, word)
    seeds[..., 0] &= SEED
    return seeds, t_child


def deal(tree: bytes, s: list[U64], t: list[U64], right: U64) -> U64:
    """Takes both parties' seeds and control bits one level down, and returns the level's correction words."""
    on_left, on_right = (hash_blocks(tree, use, s[0]) ^ hash_blocks(tree, use, s[1]) for use in list(Use)[:2])
    word: U64 = np.where(right[:, None] == 1, on_left, on_right)
    word[:, 0] &= SEED
    word[:, 0] |= (on_left[:, 0] & ONE) ^ right ^ ONE
    word[:, 0] |= ((on_right[:, 0] & ONE) ^ right) << ONE
    for b in (0, 1):
        s[b], t[b] = advance(tree, s[b], t[b], word, right)
    return word


def generate(
    tree: bytes, depth: int, bits: int, alpha: U64, roots0: U8, roots1: U8
) -> tuple[U64, list[U64], list[U64]]:
    """Correction words down alpha's path, with room for the leaf's; both parties' seeds and control bits at its end."""
    n, s = len(alpha), [roots_of(roots0), roots_of(roots1)]
    cw, t = np.empty((depth + 1, n, 2), np.uint64), [np.zeros(n, np.uint64), np.ones(n, np.uint64)]
    for level, word in enumerate(cw[:depth]):
        word[:] = deal(tree, s, t, _bit(alpha, bits - 1 - level))
    return cw, s, t


def walk(
    tree: bytes, party: int, roots: U8, cw: U8, depth: int, bits: int, q: U64
) -> Iterator[tuple[U64, U64, U64]]:
    """Yields (seed, control bit, direction from the parent) at the root and after every level of q's path."""
    s, t, right = roots_of(roots), np.full(len(roots), party, np.uint64), np.zeros(len(roots), np.uint64)
    yield s, t, right
    for level in range(depth):
        right = _bit(q, bits - 1 - level)
        s, t = advance(tree, s, t, as_blocks(cw[level]), right)
        yield s, t, right


def window(
    tree: bytes, party: int, roots: U8, cw: U8, depth: int, first: U64, leaves: int
) -> tuple[U64, U64]:
    """Seeds and control bits (leaves, N) of leaves first, first + 1, ... mod 2^depth, sharing inner nodes."""
    n = len(roots)
    columns, s, t = np.arange(n)[None], roots_of(roots)[None], np.full((1, n), party, np.uint64)
    for level in range(depth):
        above = depth - 1 - level
        nodes = min(((leaves - 2 + (1 << above)) >> above) + 1, 2 << level)
        index = (first >> np.uint64(above)) + np.arange(nodes, dtype=np.uint64)[:, None]
        offset = (index >> ONE) - (first >> np.uint64(above + 1))
        parent, right = (offset % np.uint64(1 << level)).astype(np.int64), index & ONE
        word = np.broadcast_to(as_blocks(cw[level]), (nodes, n, 2))
        s, t = advance(tree, s[parent, columns], t[parent, columns], word, right)
    return s, t
