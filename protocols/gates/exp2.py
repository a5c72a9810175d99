"""2^-y of a wire 0 <= y from one comparison key, zero at y >= 16, without a round.

With d the mask, W = 16*2^f, L = yh mod W and B = yh - L, the mask lies in (yh - W, yh] when y < W, and
2^-y = 2^(16-L) * 2^((d mod W) - 16) where d >= B, and 2^-L * 2^(d mod W) below B (exponents at scale f).
One key with payload 2^((d mod W) - 16) and three evaluations select the case or neither. Base two keeps
the payload's dynamic range at 16 bits, so that everything fits a ring of 64 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from privinf.protocols import kernels, ring
from privinf.protocols.counting import Counting
from privinf.protocols.dealer import Dealer
from privinf.protocols.gates.base import Gate
from privinf.protocols.ideal import Ideal
from privinf.protocols.party import Party
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share, Wire

WINDOW = 16  # 2^-16 is below the resolution of the weights
PUBLIC_SCALE, PAYLOAD_SCALE = 11, 25
RESULT_SCALE = PUBLIC_SCALE + PAYLOAD_SCALE
# Of the near case: rounding of the public factor and of the smallest payload. The far case is within 2^-12
# absolutely, which for y above 12 is all there is: such weights come out low, or zero.
RELATIVE_ERROR = 2.0**-11 + 2.0**-10


@cache
def _public_factors(scale: int) -> tuple[U64, U64]:
    steps = np.arange(WINDOW << scale, dtype=np.float64) / 2.0**scale
    near = np.rint(2.0 ** (PUBLIC_SCALE + WINDOW - steps)).astype(np.uint64)
    far = np.rint(2.0 ** (PUBLIC_SCALE - steps)).astype(np.uint64)
    return near, far


def _payload(mask: U64, scale: int) -> U64:
    inside = ring.low(mask, scale + 4).astype(np.float64) / 2.0**scale
    return np.rint(2.0 ** (PAYLOAD_SCALE + inside - WINDOW)).astype(np.uint64)


class Exp2(Gate):
    """[2^-y] at scale 36 modulo 2^64; y is unsigned modulo 2^n at an integer scale, n > scale + 4."""

    name = "exp2"

    def deal(self, ctx: Dealer, y: Wire) -> Share:
        scale = _scale(y)
        payload = _payload(y.secret, scale).reshape(-1)
        size = payload.size
        ctx.common(*kernels.dcf_gen(y.secret.reshape(-1), payload, y.bits, *ctx.roots("key", size)))
        ctx.share("payload", payload, 64)
        return self._output(y)

    def evaluate(self, ctx: Party, y: Wire) -> Share:
        scale, size = _scale(y), ring.size_of(y.shape)
        keys = ctx.common((y.bits, size, 16))
        values = ctx.common((y.bits + 1, size), np.uint64)
        payload = ctx.share("payload", (size,), 64)
        opened = np.ascontiguousarray(y.public).reshape(-1)
        offset = ring.low(opened, scale + 4)
        block = opened - offset
        points = np.stack(
            [ring.low(block - np.uint64(1), y.bits), opened, ring.low(opened - _window(scale), y.bits)]
        )
        below = kernels.dcf_eval(ctx.index, ctx.roots("key", size), keys, values, y.bits, points)
        first = block == 0
        start = np.where(first, payload, below[0])
        near, far = _public_factors(scale)
        total = near[offset] * (start - below[1]) + far[offset] * (
            below[2] - np.where(first, np.uint64(0), below[0])
        )
        return self._output(y, total.reshape(y.shape))

    def ideal(self, ctx: Ideal, y: Wire) -> Share:
        scale = _scale(y)
        distance = ring.low(y.public - y.secret, y.bits)
        offset = ring.low(y.public, scale + 4)
        near, far = _public_factors(scale)
        factor = np.where(ring.low(y.secret, scale + 4) <= offset, near[offset], far[offset])
        result = np.where(distance < _window(scale), factor * _payload(y.secret, scale), np.uint64(0))
        return self._output(y, result)

    def cost(self, ctx: Counting, y: Wire) -> Share:
        size = ring.size_of(y.shape)
        ctx.common(size * 16 * y.bits)
        ctx.common(size * 8 * (y.bits + 1))
        ctx.share((size,), 64)
        return self._output(y)

    @staticmethod
    def _output(y: Wire, data: U64 | None = None) -> Share:
        return Share(y.shape, 64, RESULT_SCALE, data)

    @staticmethod
    def clear(y: Any) -> Any:
        """2^-y, and zero at 16 and above."""
        return np.where(np.asarray(y) < WINDOW, 2.0 ** -np.asarray(y, dtype=np.float64), 0.0)


def _scale(y: Wire) -> int:
    scale = int(y.scale)
    if scale != y.scale or y.bits <= scale + 4:
        raise ValueError("2^-y needs an integer scale and a ring wider than its window")
    return scale


def _window(scale: int) -> np.uint64:
    return np.uint64(WINDOW << scale)
