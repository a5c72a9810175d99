"""Whole gates of both parties in one place, on NumPy arrays or torch tensors alike: what is dealt, opened and added up.

`on` is the arithmetic: this folder's device_ring or host_ring. r holds the dealer's and the parties' random words.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

Words = Any  # NumPy's uint64 or torch's int64


def split(x: Words, r: Words) -> tuple[Words, Words]:
    """Shares of x."""
    return r, x - r


def matmul(on: ModuleType, bits: int, x: Words, y: Words, rx: Words, ry: Words, r: Words) -> Words:
    """x @ y modulo 2^bits by b*xh@yh - xh@[dy] - [dx]@yh + [dx@dy], both wires opened before."""
    dx, dy = rx[:2], ry[:2]  # each party's own share of the masks
    xh = on.opened(*(on.low(s + d, bits) for s, d in zip(split(x, rx[2]), dx, strict=True)), bits)
    yh = on.opened(*(on.low(s + d, bits) for s, d in zip(split(y, ry[2]), dy, strict=True)), bits)
    cross = split(on.matmul(dx[0] + dx[1], dy[0] + dy[1], bits), r)
    operands = -dy[0], yh - dy[1]
    shares = [on.matmul(xh, operands[b], bits) - on.matmul(dx[b], yh, bits) + cross[b] for b in (0, 1)]
    return on.low(shares[0] + shares[1], bits)


def lifted_product(on: ModuleType, bits: int, x: Words, y: Words, r: Words) -> Words:
    """x * y modulo 2^64 of a wire x modulo 2^bits, |x| < 2^(bits-2), and a wire y modulo 2^64."""
    d, dy = on.low(r[0], bits), r[1]
    top = on.shift_right(d, bits - 1)
    start, carry = on.lifted_terms(on.low(x + d, bits), bits)
    yh = y + dy
    dealt = [split(v, r[2 + i]) for i, v in enumerate((d, dy, top, d * dy, top * dy))]
    shares = []
    for b in (0, 1):
        mask, mask_y, m, both, m_y = (pair[b] for pair in dealt)
        share = both - start * mask_y - mask * yh + carry * (yh * m - m_y)
        shares.append(share + start * yh if b else share)
    return shares[0] + shares[1]


def truncate(on: ModuleType, bits: int, count: int, x: Words, r: Words) -> Words:
    """x >> count, or one more, modulo 2^bits for one opened bit an element, |x| < 2^(bits-2)."""
    quarter = 1 << (bits - 2)
    parts = [on.low(s + b * quarter, bits) for b, s in enumerate(split(x, r[0]))]
    own = [on.low(r[1], 1), on.low(r[2], 1)]  # each party's mask of its clear top bit
    clear = [1 - on.shift_right(part, bits - 1) for part in parts]
    public = [clear[b] ^ own[b] for b in (0, 1)]
    both = split(own[0] & own[1], r[3])
    total = 0
    for b in (0, 1):
        mine, theirs = public[b], public[1 - b]
        flips = (1 - 2 * mine, 1 - 2 * theirs)
        share = theirs * flips[0] * own[b] + flips[0] * flips[1] * both[b] + b * mine * theirs
        total = total + on.shift_right(parts[b], count) - ((b - share) << (bits - count))
    return on.low(total - ((quarter >> count) - 1), bits)
