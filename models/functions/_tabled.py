"""Functions whose gate looks up the factors of a separable table, without a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privinf.protocols.masked.gates import activation
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Tabled:
    """One of them, by its gate's name; inputs beyond its table are right, as they meet their asymptote."""

    gate: str
    clear: Callable[[torch.Tensor], torch.Tensor]
    extra: int = activation.EXTRA
    unsure: int = 1

    def masked(self, ctx: Interpreter, x: Wire, bits: int) -> Share:
        return activation.activate(ctx, x, self.gate, bits)

    def input_bits(self, magnitude: float, scale: int) -> int:
        return activation.input_bits(self.gate, magnitude, scale)

    def most(self, bits: int, scale: int) -> float:
        return float(2.0 ** (bits - scale - 1) - 2.0 ** activation.ACTIVATIONS[self.gate].block)

    def tables(self, scale: int) -> Iterator[tuple[str, Factors]]:
        yield self.gate, activation.factors(self.gate, scale)


def of_torch(name: str, **options: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function of torch.nn.functional that has this name; torch is imported when it is called."""

    def clear(x: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        y: torch.Tensor = getattr(functional, name)(x, **options)
        return y

    return clear
