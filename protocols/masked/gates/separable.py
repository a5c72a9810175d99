"""A function of a masked wire as a short sum of products, one factor known to the parties and one to the dealer.

A wire x = xh - d is cut into blocks of B = 2^low units: xh = Xh*B + L and d = Dh*B + D, so that
  x = j*B + (L - D)  with the block difference j = Xh - Dh.
Where f(j*B + L - D) = sum_r T_r[j, L] * H_r(D) for each j, a point function at Dh with the payload H(D) gives f by
local products: no round, no bit opened, and keys whose depth is that of the blocks alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.protocols import ring
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Party
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64

NOTHING = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class Factors:
    """Integers of a separable function, its result at `scale` modulo 2^bits.

    payload (2^low, R): H_r(D). near (J, 2^low, R): T_r[j, L] for j = first, first + 1, ...
    far = (a, b, c): beyond, for larger j, the function is (a * (j*B + L) + b) * H_0(D) + c * H_1(D).
    For smaller j it is zero.
    """

    payload: npt.NDArray[np.int64]
    near: npt.NDArray[np.int32]
    first: int
    far: tuple[int, int, int]
    scale: int

    @property
    def low(self) -> int:
        """log2 of a block."""
        return len(self.payload).bit_length() - 1

    @property
    def lanes(self) -> int:
        return int(self.payload.shape[1])

    @property
    def end(self) -> int:
        """The first block difference that is far."""
        return self.first + len(self.near)


class Separable(Gate):
    """[f(x)] modulo 2^bits for the signed x of an n-bit wire, |x| + B <= 2^(n-1); no round; exact in integers."""

    name = "separable"

    def __init__(self, factors: Factors, bits: int) -> None:
        self._factors = factors
        self._bits = bits

    @property
    def _lane_bytes(self) -> int:
        return max(ring.element_bytes(self._bits), 4)

    def _depth(self, x: Wire) -> int:
        depth = x.bits - self._factors.low
        if depth < 1 or self._factors.end > 1 << (depth - 1):
            raise ValueError(f"a wire of {x.bits} bits is too narrow for this function")
        return depth

    def deal(self, ctx: Dealer, x: Wire) -> None:
        mask, f = np.ascontiguousarray(x.secret).reshape(-1), self._factors
        given = (ctx.tree(), mask, self._depth(x), f.low, f.payload, self._lane_bytes)
        ctx.common(*ctx.kernels.separable_gen(*given, *ctx.roots(mask.size)))

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        f, depth, size = self._factors, self._depth(x), ring.size_of(x.shape)
        key = (*ctx.keys((depth, size, 16)), ctx.common((size, f.lanes * self._lane_bytes)))
        index, far = np.ascontiguousarray(x.public).reshape(-1), np.array(f.far, dtype=np.int64)
        value = ctx.kernels.separable_eval(*key, depth, f.low, self._lane_bytes, index, f.first, f.near, far)
        return self.output(x, value.reshape(x.shape))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        f, low = self._factors, np.uint64(self._factors.low)
        place = ring.low(x.public, f.low).astype(np.int64)
        payload = f.payload[ring.low(x.secret, f.low).astype(np.int64)]
        block = ring.signed((x.public >> low) - (x.secret >> low), self._depth(x))
        inside = (block >= f.first) & (block < f.end)
        rows = f.near[np.clip(block - f.first, 0, len(f.near) - 1), place].astype(np.int64)
        near = np.where(inside, (rows * payload).sum(axis=-1), 0)
        return self.output(x, (near + self._far(block, place, payload)).view(np.uint64))

    def _far(
        self, block: npt.NDArray[np.int64], place: npt.NDArray[np.int64], payload: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        f = self._factors
        if f.far == NOTHING:
            return np.zeros(block.shape, dtype=np.int64)
        slope, start, second = f.far
        value = (slope * ((block << f.low) + place) + start) * payload[..., 0] + second * payload[..., 1]
        return np.where(block >= f.end, value, 0)

    def cost(self, ctx: Counting, x: Wire) -> None:
        size = ring.size_of(x.shape)
        ctx.common(self._depth(x), size, 16)
        ctx.common(size, self._factors.lanes * self._lane_bytes)

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return Share(x.shape, self._bits, self._factors.scale, data)
