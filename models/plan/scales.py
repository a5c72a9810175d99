"""Fraction bits by what a value is: one set for each order of a block, written into every plan."""

from __future__ import annotations

from dataclasses import dataclass

RELATIVE = "bias.relative"  # what a relative position adds to the scores of every layer, (buckets, heads)
PATCH = "embed.patch.weight"  # what a patch's pixels are multiplied with, (values, width)
ROTARY = 14  # of cosines and sines
RESULT = 14  # an answer is cut to this: its exact products would give weights away


@dataclass(frozen=True)
class Scales:
    """A product's scale is the sum of its factors'; what exceeds the target is dropped on opening.

    rows: of normalised rows; weight: of matrices, biases and gains aside. outer: of what goes into the layers that
    write to the residual. mixed: of values mixed by the smallest sum of weights that a row may have. gate, up: of an
    activated gate, and of what it is multiplied with. pixels: of an image's, as its model takes them.
    """

    weight: int
    qk: int
    values: int
    mixed: int
    outer: int
    gate: int = 0
    up: int = 0
    rows: int = 12
    scores: int = 10
    embed: int = 16
    pixels: int = 12
    rotary: int = ROTARY
    result: int = RESULT

    @property
    def linear(self) -> int:
        """Of what linear layers make of normalised rows."""
        return self.rows + self.weight

    @property
    def residual(self) -> int:
        """Of what is added to the residual."""
        return self.outer + self.weight

    @property
    def product(self) -> int:
        """Of queries times keys."""
        return 2 * self.qk

    def of(self, name: str) -> int:
        """Of a folded tensor, by its name."""
        if name == PATCH:
            return self.residual - self.pixels
        if name.startswith("embed."):
            return self.embed
        if name == RELATIVE:
            return self.product
        if ".prefix." in name:
            return self.qk if name.endswith("k") else self.values
        return self.linear if name.endswith(".bias") else self.weight


POST = Scales(weight=14, qk=11, values=10, mixed=10, outer=12)
# What is added to the residual is finer here, as is what is multiplied with it: rows are not normalised after each sum.
PRE = Scales(weight=16, qk=12, values=12, mixed=11, outer=16, gate=16, up=14)
