"""Shares of 1/S or 1/sqrt(S) of a number opened under a mask, in plain NumPy: the reference of `powers_*`.

The tree's leaves are the mask D, from the top; its node a of level s stands for the block [a 2^s, (a + 1) 2^s) and
carries Chebyshev polynomials of D's place in it. With X = S + D and d = (X >> s) - a, S = (d + l - t) 2^s, l and t the
places of X and D in their blocks: a polynomial in t whose coefficients follow from d and l, which are open. A level
serves 4 <= d where the parent's d is below 4, so that S is between 3 and 8 blocks, and each S is served once. At the
last such level d = 8 is served too, and from 9 blocks on the sum is the power of 2^high; on the first level, d < 4
gives that of 2^low. Such a power at an end has SATURATED
on it, which is found as a value that leaves its ring is.

Coefficients come from the generating function of Gegenbauer polynomials: with a = 2 d - 1 + 2 l, y = 2 t - 1 and
q = a - sqrt(a^2 - 1), S = 2^s (1 - 2 q y + q^2) / (4 q). All is IEEE addition, multiplication and square root, one
after the other, so that every machine rounds alike; `powers.h` repeats it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from privinf.protocols.kernels.prg import FINALS, U8, U64, hash_blocks
from privinf.protocols.kernels.trees import ONE, advance, as_blocks, deal, roots_of, window

F64 = NDArray[np.float64]
NEAR = 4  # blocks in an octave, and the first distance that a level serves
DISTANCES = 2 * NEAR + 1  # that are looked at where powers end
BLOCK_BITS = 2  # log2 of NEAR
SATURATED = 1 << 62  # on a power that is an end's: above all powers, so that a smaller ring does not have it
PLACE_BITS = 32  # of a place in its block: the rest is below what any lane holds
# By the exponent in halves: of T_r's coefficient, less its power of q, the terms in 1, q^2 and q^4.
SERIES = {
    1: (
        (1.0, 1 / 4, 9 / 64),
        (1.0, 3 / 8, 15 / 64),
        (3 / 4, 5 / 16, 105 / 512),
        (5 / 8, 35 / 128, 189 / 1024),
    ),
    2: ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (2.0, 2.0, 2.0), (2.0, 2.0, 2.0)),
}


def fraction(lane: int, fine: int, step: int) -> int:
    """Fraction bits of a lane."""
    return fine - step * (lane - 1) if lane else 0


class Form(NamedTuple):
    """The octaves [2^low, 2^high), and lanes: the first is one, the next has `fine` fraction bits, others step less."""

    bits: int
    low: int
    high: int
    lanes: int
    fine: int
    step: int

    @property
    def levels(self) -> range:
        """log2 of the blocks of the levels that carry lanes, from the root down."""
        return range(self.high - 1 - BLOCK_BITS, self.low - 1 - BLOCK_BITS, -1)

    @property
    def depth(self) -> int:
        """Levels below the root."""
        return self.bits - self.levels[-1]

    def fraction(self, lane: int) -> int:
        return fraction(lane, self.fine, self.step)


class Curve(NamedTuple):
    """2^scale (numerator / S)^(halves / 2)."""

    halves: int
    numerator: int
    scale: int

    def of_power(self, exponent: int) -> int:
        """Its value at 2^exponent, an end, rounded and marked."""
        ratio = float(self.numerator) * 2.0**-exponent
        value = ratio if self.halves == 2 else math.sqrt(ratio)
        return int(np.rint(value * 2.0**self.scale)) + SATURATED


def places(numbers: U64, level: int) -> F64:
    """Where in their blocks numbers lie, in [0, 1), cut to PLACE_BITS."""
    kept = min(level, PLACE_BITS)
    place = (numbers & np.uint64((1 << level) - 1)) >> np.uint64(level - kept)
    return place.astype(np.float64) * 2.0**-kept


def payload(form: Form, place: F64) -> U64:  # (...) -> (..., R)
    """Integers T_r(2 t - 1) in each lane's fraction bits."""
    y = (place + place) - 1.0
    rows = [np.ones_like(y), y]
    while len(rows) < form.lanes:
        rows.append((y + y) * rows[-1] - rows[-2])
    scaled = [row * 2.0 ** form.fraction(lane) for lane, row in enumerate(rows[: form.lanes])]
    return np.rint(np.stack(scaled, axis=-1)).astype(np.int64).view(np.uint64)


def coefficients(form: Form, curve: Curve, level: int, a: F64) -> U64:  # (...) -> (..., R)
    """Integers whose sum of products with the payload is the curve, `a` as above."""
    q = a - np.sqrt(a * a - 1.0)
    squared = q * q
    lead = q * (float(curve.numerator) * 2.0 ** (2 - level))
    lead = lead if curve.halves == 2 else np.sqrt(lead)
    out = []
    for lane, (first, second, third) in enumerate(SERIES[curve.halves][: form.lanes]):
        series = first + squared * (second + squared * third)
        out.append((lead * series) * 2.0 ** (curve.scale - form.fraction(lane)))
        lead = lead * q
    return np.rint(np.stack(out, axis=-1)).astype(np.int64).view(np.uint64)


def factors(form: Form, curve: Curve, level: int, distance: NDArray[np.int64], index: U64) -> U64:
    """What the lanes at a distance are multiplied with, for indices of the same shape: (..., R)."""
    place, widest = places(index, level), level == form.levels[0]
    odd = ((index >> np.uint64(level)) & ONE).astype(np.int64)
    parent = (distance + 1 - odd) >> 1
    served = (distance >= NEAR) & (distance < DISTANCES) & (widest | (parent < NEAR))
    a = np.maximum(distance, NEAR).astype(np.float64) * 2.0 - 1.0 + (place + place)
    out: U64 = coefficients(form, curve, level, a) * served.astype(np.uint64)[..., None]
    if level == form.levels[-1]:
        below = (distance >= 0) & (distance < NEAR)
        out[..., 0] += below * np.uint64(curve.of_power(form.low))
    if widest:
        inside = (distance >= 0) & (distance < DISTANCES)
        out[..., 0] -= inside * np.uint64(curve.of_power(form.high))
    return out


def _lanes(tree: bytes, seeds: U64, count: int) -> U64:  # (..., 2) -> (..., count)
    """A node's lanes, under keys of their own: never from seed bits, which children are made of."""
    blocks = [hash_blocks(tree, use, seeds) for use in FINALS[: (count + 1) // 2]]
    return np.concatenate(blocks, axis=-1)[..., :count]


def powers_gen(
    tree: bytes,
    mask: U64,
    bits: int,
    low: int,
    high: int,
    lanes: int,
    fine: int,
    step: int,
    roots0: U8,
    roots1: U8,
) -> tuple[U8, U64]:
    """Correction words of the tree's levels, and of the lanes of the levels that have them, from the root down."""
    form, n = Form(bits, low, high, lanes, fine, step), len(mask)
    s, t = [roots_of(roots0), roots_of(roots1)], [np.zeros(n, np.uint64), np.ones(n, np.uint64)]
    words, values = [], []
    for level in range(bits - 1, form.levels[-1] - 1, -1):
        words.append(deal(tree, s, t, (mask >> np.uint64(level)) & ONE))
        if level in form.levels:
            value = payload(form, places(mask, level)) - _lanes(tree, s[0], lanes) + _lanes(tree, s[1], lanes)
            values.append(np.where(t[1][:, None] == 1, np.uint64(0) - value, value))
    return np.stack(words).view(np.uint8).reshape(len(words), n, 16), np.stack(values)


def _sum(
    tree: bytes, s: U64, t: U64, value: U64, factor: U64
) -> U64:  # nodes (P, N, 2), control bits (P, N), corrections (N, R), factors (P, N, R)
    share = _lanes(tree, s, value.shape[-1]) + t[..., None] * value
    total: U64 = (share * factor).sum(axis=(0, 2), dtype=np.uint64)
    return total


def powers_eval(
    tree: bytes,
    party: int,
    roots: U8,
    cw: U8,
    values: U64,
    bits: int,
    low: int,
    high: int,
    lanes: int,
    fine: int,
    step: int,
    halves: int,
    numerator: int,
    scale: int,
    index: U64,
) -> U64:
    """Shares (N,) modulo 2^64 of the curve at the index less the mask."""
    form, curve = Form(bits, low, high, lanes, fine, step), Curve(halves, numerator, scale)
    n, top = len(index), form.levels[0]
    distance = np.broadcast_to(np.arange(DISTANCES)[:, None], (DISTANCES, n))
    first = ((index >> np.uint64(top)) - np.uint64(DISTANCES - 1)) & np.uint64(2 ** (bits - top) - 1)
    s, t = (x[::-1] for x in window(tree, party, roots, cw, bits - top, first, DISTANCES))
    total = np.zeros(n, np.uint64)
    for number, level in enumerate(form.levels):
        if number:  # both children of each near node: the one on the right is nearer
            side = np.broadcast_to(1 - np.arange(2 * NEAR)[:, None] % 2, (2 * NEAR, n)).astype(np.uint64)
            word = np.broadcast_to(as_blocks(cw[bits - 1 - level]), (2 * NEAR, n, 2))
            s, t = advance(tree, np.repeat(s[:NEAR], 2, axis=0), np.repeat(t[:NEAR], 2, axis=0), word, side)
            odd = ((index >> np.uint64(level)) & ONE).astype(np.int64)
            distance = np.arange(2 * NEAR)[:, None] - 1 + odd
        at = np.broadcast_to(index, distance.shape)
        total += _sum(tree, s, t, values[number], factors(form, curve, level, distance, at))
        if number:  # the next ones are near by distance, whichever place they have here
            place, column = np.arange(NEAR)[:, None] + 1 - odd, np.arange(n)
            s, t = s[place, column], t[place, column]
    return total if party == 0 else np.uint64(curve.of_power(high)) - total
