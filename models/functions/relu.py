"""ReLU: exact, in one round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from privinf.protocols.masked.gates import activation
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire

if TYPE_CHECKING:
    import torch


class Relu:
    """max(x, 0)."""

    extra = 0
    unsure = 2

    def clear(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()

    def masked(self, ctx: Interpreter, x: Wire, bits: int) -> Share:
        return activation.relu(ctx, x, bits)

    def input_bits(self, magnitude: float, scale: int) -> int:
        return activation.input_bits("relu", magnitude, scale)

    def most(self, bits: int, scale: int) -> float:
        return float(2.0 ** (bits - scale - 2))  # the sign, and what lifting needs

    def tables(self, scale: int) -> Iterator[tuple[str, Factors]]:
        yield from ()


ENTRY = Relu()
