"""What a case of the gates' conformance suite is, how its values are drawn, and how its costs are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from privinf.protocols import ring
from privinf.protocols.cost import Cost
from privinf.protocols.masked.gates.linear import ToShare
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import F64, Shape
from privinf.protocols.testing import lockstep

Draw = Callable[[st.SearchStrategy[Any]], Any]
I64 = npt.NDArray[np.int64]
Ints = npt.NDArray[Any]
Program = Callable[..., Sequence[Share]]
SEEDS = st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))


@dataclass(frozen=True)
class Exactly:
    """Integers that a result must equal modulo its ring."""

    integers: Ints


@dataclass(frozen=True)
class Within:
    """Reals that a result may differ from by `bound`, both of the result's shape."""

    reals: F64
    bound: F64 | float


@dataclass(frozen=True)
class Stores:
    """Static weights as every role holds them."""

    parties: tuple[Any, Any]
    dealer: Any
    ideal: Any
    shapes: Any


@dataclass(frozen=True)
class Trial:
    """A program that ends in shares, its inputs, and what each result must be."""

    program: Program
    inputs: tuple[Share, ...]
    wanted: tuple[Exactly | Within, ...]
    stores: Stores | None = None


def examples(count: int) -> settings:
    """Return settings under which every run draws the same cases, fewer of them in the fast one."""
    return settings(
        max_examples=min(count, settings().max_examples),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def integers(draw: Draw, shape: Shape, low: int, high: int, edges: Sequence[int] = ()) -> I64:
    """Integers in [low, high]: half of them at its ends, around zero, or at the given edges."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ends = [e for e in (low, low + 1, -1, 0, 1, high - 1, high, *edges) if low <= e <= high]
    inside = rng.integers(low, high, shape, endpoint=True, dtype=np.int64)
    return np.where(rng.random(shape) < 0.5, rng.choice(np.array(ends, dtype=np.int64), shape), inside)


def signed(draw: Draw, shape: Shape, bits: int, spare: int = 1, edges: Sequence[int] = ()) -> I64:
    """Signed integers of bits - spare + 1 bits, ends included."""
    half = 1 << (bits - spare)
    return integers(draw, shape, -half, half - 1, edges)


def share(x: Ints, bits: int, scale: float = 0) -> Share:
    return Share(x.shape, bits, scale, ring.low(x.astype(np.int64).view(np.uint64), bits))


def shape(draw: Draw, *, most: int = 3, rank: int = 3) -> Shape:
    return tuple(draw(st.lists(st.integers(1, most), min_size=1, max_size=rank)))


def width(draw: Draw, low: int, high: int) -> int:
    """A ring's bits; whole bytes, single bits and odd widths all occur."""
    return int(draw(st.integers(low, high)))


def row_shape(draw: Draw, most: int = 9) -> Shape:
    """A shape that ends in a row of up to `most`."""
    return (*shape(draw, most=2, rank=2), draw(st.integers(1, most)))


def wide(x: Ints) -> Ints:
    """Python integers, which do not wrap."""
    return x.astype(object)


def held(ctx: Interpreter, wire: Wire) -> Share:
    """A wire as a share, by which its value can be compared."""
    result: Share = ctx.run(ToShare(), wire)
    return result


def counted(program: Program, inputs: Sequence[Share], weights: Any, run: lockstep.Lockstep) -> None:
    """Compare declared costs with what each role counted and what was really sent."""
    declared = lockstep.declared(program, inputs, weights).tally.total()
    first, second = (tally.total() for tally in run.tallies)
    assert first == Cost(declared.rounds, declared.online, declared.prep0, 0, declared.precomputed)
    assert second == Cost(declared.rounds, declared.online, 0, declared.prep1, declared.precomputed)
    assert run.dealer_tally.total() == replace(declared, precomputed=0)
    assert run.left == (0, 0)
    for sent in run.transcripts:
        assert (len(sent), sum(map(len, sent))) == (declared.rounds, declared.online)
