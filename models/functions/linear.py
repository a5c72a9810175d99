"""The identity, where a nonlinearity was taken out: a value is taken to the ring of the layer behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from privinf.models.functions.relu import Relu
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire

if TYPE_CHECKING:
    import torch


class Identity(Relu):
    """x, in the rings of ReLU."""

    def clear(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def masked(self, ctx: Interpreter, x: Wire, bits: int) -> Share:
        lifted: Share = ctx.run(Product(bits), x)
        return lifted

    def tables(self, scale: int) -> Iterator[tuple[str, Factors]]:
        yield from ()


ENTRY = Identity()
