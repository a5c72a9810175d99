"""What an engine must offer: a model's operations, generic over what sums and rows are to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from privinf.models.parts import Attention, FeedForward, Head, Linear, Norm, Skip

Sum = TypeVar("Sum")  # what linear layers give and residuals add up: a share, a tensor
Rows = TypeVar("Rows")  # what linear layers take: an opened wire, a tensor


@dataclass(frozen=True)
class Heads(Generic[Rows]):
    """Queries, keys and values of one attention, (batch, heads, rows, head width).

    Queries may be those of some rows alone: of the last ones, unless the model says otherwise.
    """

    queries: Rows
    keys: Rows
    values: Rows


@dataclass(frozen=True)
class View(Generic[Rows]):
    """The keys and values that a pass attends to, (batch, kv heads, slots, head width)."""

    keys: Rows
    values: Rows


class Ops(Protocol[Sum, Rows]):
    """An engine, made for one pass of one model: it holds the query, and what earlier passes left."""

    def at(self, label: str) -> AbstractContextManager[None]:
        """Name what follows, for masks and costs; nobody parses a label."""

    def sums(self) -> Sum:
        """What the first layer takes, as a sum (batch, rows, width)."""

    def rows(self, norm: Norm) -> Rows:
        """The same, normalised."""

    def normalise(self, x: Sum, norm: Norm) -> Rows:
        """Each row over its deviation."""

    def linear(self, x: Rows, part: Linear) -> Sum:
        """x W + b."""

    def add(self, x: Sum, y: Sum) -> Sum:
        """x + y."""

    def skip(self, y: Sum, x: Rows, part: Skip) -> Sum:
        """y + x gain - x mean: the centred residual of rows whose gain is folded away."""

    def heads(self, part: Attention, q: Sum, k: Sum, v: Sum) -> Heads[Rows]:
        """Cut into heads, and turned by their positions."""

    def remember(self, part: Attention, heads: Heads[Rows]) -> View[Rows]:
        """Keep keys and values for later passes; return those of all slots."""

    def slots(self, x: Rows) -> int:
        """How many slots keys or values have."""

    def newest(self, x: Rows, slots: int) -> Rows:
        """Keys or values of so many slots, the last ones."""

    def scores(self, part: Attention, queries: Rows, keys: Rows) -> Sum:
        """Scores (batch, heads, rows, slots) in base two, also of slots that a row may not see."""

    def softmax(self, part: Attention, scores: Sum) -> Rows:
        """Weights of the slots that a row may see, up to one factor a row."""

    def mix(self, part: Attention, weights: Rows, values: Rows) -> Rows:
        """Values mixed by weights and divided by their row's sum, heads side by side (batch, rows, width)."""

    def lifted(self, part: Attention, x: Rows) -> Rows:
        """Queries, keys or scores, for products that need a larger ring."""

    def plain(self, part: Attention, scores: Sum) -> Rows:
        """Scores as rows, for a variant without exponentials, all of whose slots a row may see."""

    def positive(self, part: Attention, scores: Rows) -> Rows:
        """One where a score is positive, zero elsewhere."""

    def kept(self, part: Attention, which: Rows, scores: Rows) -> Rows:
        """Scores where `which` is one, zero elsewhere: weights."""

    def squared(self, part: Attention, scores: Rows) -> Rows:
        """Squares of scores: weights."""

    def paired(self, part: Attention, keys: Rows, values: Rows) -> Rows:
        """Keys turned around times values (batch, kv heads, head width, head width)."""

    def gathered(self, part: Attention, weights: Rows, values: Rows, halvings: int) -> Rows:
        """Values mixed by weights over 2^halvings, heads side by side; weights and values may be queries and pairs."""

    def averaged(self, part: Attention, weights: Rows, values: Rows, eps: float) -> tuple[Rows, Rows]:
        """Values mixed by weights (batch, heads, rows, head width), and 1 / (sum + eps) of each row of weights."""

    def divided(self, part: Attention, mixed: Rows, inverse: Rows) -> Rows:
        """Their product, heads side by side."""

    def pick(self, x: Rows, heads: Sequence[int]) -> Rows:
        """Some heads of queries, keys or values."""

    def together(self, part: Attention, groups: Sequence[Rows], heads: Sequence[int]) -> Rows:
        """Groups of heads side by side, which follow each other as `heads` says, in their own order."""

    def activate(self, x: Sum, part: FeedForward) -> Rows:
        """f(x)."""

    def gate(self, x: Sum, y: Sum, part: FeedForward) -> Rows:
        """f(x) y."""

    def some(self, x: Rows, places: Sequence[int]) -> Rows:
        """Rows at these places."""

    def placed(self, groups: Sequence[Sum], places: Sequence[int]) -> Sum:
        """Groups of rows, which follow each other as `places` says, in their own order."""

    def last(self, x: Sum, rows: int) -> Sum:
        """The last rows."""

    def tail(self, x: Rows, rows: int) -> Rows:
        """The last rows, of rows."""

    def top(self, x: Sum, rows: int) -> Sum:
        """The first rows, of a sum."""

    def first(self, x: Rows, rows: int = 1) -> Rows:
        """The first rows."""

    def pool(self, x: Rows, head: Head) -> Sum:
        """The first row, or what stands for the mean of those that are real, with the last gain and bias."""

    def answer(self, x: Sum, head: Head) -> Sum:
        """What the client is given of it."""
