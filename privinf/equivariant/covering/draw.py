"""The randomness of one conversion: AES in counter mode under a fresh seed, as normal deviates, orders and signs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privinf.protocols import prg

F64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


class Draw:
    """Draws anew at every call; `seed` is the whole secret of a conversion and is kept by nobody."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._seed = seed or prg.fresh_seed()
        self._calls = 0

    def words(self, *shape: int) -> U64:
        """Uniform 64-bit words."""
        self._calls += 1
        return prg.elements(self._seed, f"equivariant|{self._calls}", shape, 64)

    def uniform(self, *shape: int) -> F64:
        """Uniform in [0, 1), 53 bits each."""
        return (self.words(*shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, *shape: int) -> F64:
        """Standard normal deviates, two from each pair of uniform ones (Box and Muller, 1958)."""
        size = int(np.prod(shape))
        first, turn = self.uniform(2, (size + 1) // 2)
        radius, angle = np.sqrt(-2.0 * np.log1p(-first)), 2.0 * np.pi * turn
        return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:size].reshape(shape)

    def order(self, count: int) -> Ids:
        """A permutation of 0, 1, ...; two equal words among so few never occur."""
        return np.argsort(self.words(count)).astype(np.int64)

    def signs(self, *shape: int) -> F64:
        """Minus one or one."""
        return 1.0 - 2.0 * (self.words(*shape) >> np.uint64(63)).astype(np.float64)

    def scales(self, *shape: int, spread: float) -> F64:
        """Positive numbers between 1/spread and spread, their logarithms uniform."""
        drawn: F64 = np.exp(np.log(spread) * (2.0 * self.uniform(*shape) - 1.0))
        return drawn
