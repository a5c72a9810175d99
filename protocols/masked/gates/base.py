"""What a primitive gate is: facets of one function, chosen by the interpreter that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from privinf.protocols.masked.ahead import Ahead
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party

# What a gate is written over
__all__ = ["Ahead", "Counting", "Dealer", "Gate", "Ideal", "Interpreter", "Party"]


class Gate(ABC):
    """A function on wires without a round of its own: its inputs are open, its outputs are shares.

    `require` asks for mask shares and lifts of the inputs; it runs in every role, in the same order.
    """

    name: ClassVar[str]

    def require(self, ctx: Interpreter, *inputs: Any) -> None:  # noqa: B027
        """Nothing is needed by default."""

    def deal(self, ctx: Dealer, *inputs: Any) -> Any:  # noqa: B027
        """From the masks: what the parties need to evaluate. What it returns, if anything, are the outputs."""

    @abstractmethod
    def evaluate(self, ctx: Party, *inputs: Any) -> Any:
        """From opened values, mask shares and the preparation: shares of the result."""

    @abstractmethod
    def ideal(self, ctx: Ideal, *inputs: Any) -> Any:
        """The exact integers that the shares add up to."""

    def cost(self, ctx: Counting, *inputs: Any) -> None:  # noqa: B027
        """Declare preparation bytes, as a function of shape."""

    def ahead(self, ctx: Ahead, *inputs: Any) -> None:
        """What a party computes before a query comes: nothing by default, the preparation is passed over."""
        self.cost(ctx, *inputs)

    @abstractmethod
    def output(self, *inputs: Any) -> Any:
        """The outputs as those see them who have none of their data: their shapes, rings and scales."""
