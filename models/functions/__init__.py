"""Functions of one number, a file each: what one is in float32, and the gate that computes it on shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.registry import Registry

if TYPE_CHECKING:
    import torch


class Function(Protocol):
    """One function, and what a plan must know of its gate."""

    @property
    def extra(self) -> int:
        """Fraction bits that its gate adds."""

    @property
    def unsure(self) -> int:
        """Bits by which a ring is smaller than its wire's, so that its check finds all that the gate is wrong on."""

    def clear(self, x: torch.Tensor) -> torch.Tensor:
        """f(x)."""

    def masked(self, ctx: Interpreter, x: Wire, bits: int) -> Share:
        """[f(x)] modulo 2^(bits + extra), `extra` bits finer than x."""

    def input_bits(self, magnitude: float, scale: int) -> int:
        """The narrowest wire for inputs up to `magnitude` at `scale`; ValueError where no gate takes them."""

    def most(self, bits: int, scale: int) -> float:
        """The largest input that a wire of so many bits holds."""

    def tables(self, scale: int) -> Iterator[tuple[str, Factors]]:
        """What dealer and parties look up, by a name under which equal tables are one."""


FUNCTIONS: Registry[Function] = Registry("privinf.models.functions", "activation")
