"""The formulas of docs/gates.md against what the gates declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import TABLE

from privinf.protocols import ring
from privinf.protocols.cost import Cost
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates import (
    activation,
    alarm,
    argmax,
    base,
    bits,
    compare,
    exp2,
    histogram,
    linear,
    power,
    product,
    selection,
    separable,
    table,
    watch,
)
from privinf.protocols.masked.interpreter import drop_bits
from privinf.protocols.masked.wires import Cut, Known, Share, Wire

ROW = 12
K = 44
ELEMENT = 5.5  # bytes of K bits
WORD = 8
DOCUMENT = Path(__file__).parents[2] / "docs" / "gates.md"


def point(bits: int) -> int:
    return 16 * (max(bits - 7, 0) + 1)


def lanes(bits: int, lane: int) -> int:
    return 16 * (max(bits - (4 if lane == 8 else 3), 0) + 1)


def wire(bits: int, scale: int = 0) -> Wire:
    return Wire((2, ROW), bits, scale)


def in_balance(declared: Cost, one_sided: Cost) -> None:
    """Compare costs but for which party is sent what is shared; each is sent what both are."""
    both = one_sided.prep0
    second = declared.prep0 + declared.prep1 - both
    assert replace(declared, prep0=both, prep1=second) == one_sided
    assert min(declared.prep0, declared.prep1) >= both


SIGN = Known((2, ROW))
SIZE = 2 * ROW

PRIMITIVES: list[tuple[Any, tuple[Any, ...], int, int]] = [
    (linear.MatMul(), (wire(40), Wire((ROW, 3), 33, 0)), 0, 25),  # six of 33 bits
    (linear.PublicMatMul(np.zeros((ROW, 3), dtype=np.uint64), 0), (wire(40),), 0, 0),
    (linear.ToShare(), (wire(40),), 0, 0),
    (selection.Sums(), (Share((2, ROW), 64, 0),), 32, 0),
    (alarm.Coins(), (), 32, 0),
    (watch.Watch(18), (Wire((2, ROW), 20, 0, cut=Cut(20, 0, 20)),), 0, SIZE * 2),
    (product.SumSquares(K), (wire(20),), 0, SIZE * (2 * 24 + 23) // 8 + 2 * ELEMENT),
    (compare.AtLeast((0, 1, 2)), (wire(20),), SIZE * point(19), SIZE // 8),
    (compare.Equals(), (wire(20),), SIZE * point(20), 0),
    (table.Window(TABLE), (wire(20),), SIZE * point(20), 0),
    (separable.Separable(exp2.factors(10, 20), 58), (wire(20, 10),), SIZE * (16 * 6 + 2 * WORD), 0),
    (power.Powers(power.Power(-0.5, 5, 14, 10)), (wire(20),), SIZE * (16 * 17 + 3 * WORD * 9), 0),
    (histogram.Tail(8), (wire(7),), SIZE * lanes(7, 8), 0),
    (histogram.Head(16, 4), (wire(7),), SIZE * lanes(7, 16), 0),
    (histogram.CountZeros(8), (wire(3),), SIZE * lanes(3, 8), 0),
    *(
        (product.Product(K), factors, 0, SIZE * sum(dealt) // 8)
        for factors, dealt in (  # in bits: what is whole, products with a top bit, lifts
            ((wire(K),), ()),
            ((wire(20),), (24, 24)),
            ((wire(1),), (K,)),
            ((wire(K), wire(50)), (K,)),
            ((wire(K), wire(20)), (K, 24, 24, 24)),
            ((wire(1), wire(K)), (K, K)),
            ((wire(1), wire(20)), (K, K, 24, 24, 24)),
            ((wire(20), wire(21)), (K, 24, 23, 3, 24, 24, 23, 23)),
            ((wire(20), wire(24)), (K, 24, 20, 24, 24, 20, 20)),
            ((wire(20), SIGN), (K, K, 24, 24, 24)),
            ((wire(K), SIGN), (K, K)),
            ((wire(1), wire(K), SIGN), (K, K, K, K)),
        )
    ),
]


@pytest.mark.parametrize(
    ("gate", "inputs", "both", "second"), PRIMITIVES, ids=lambda v: getattr(v, "name", "")
)
def test_primitive(gate: Any, inputs: tuple[Any, ...], both: int, second: int) -> None:
    ctx = Counting()
    ctx.run(gate, *inputs)
    in_balance(replace(ctx.tally.total(), precomputed=0), Cost(0, 0, both, both + second))


def test_products_with_static_weights_are_computed_ahead() -> None:
    ctx, x = Counting(), wire(40)
    ctx.run(linear.PublicMatMul(np.zeros((ROW, 3), dtype=np.uint64), 0), x)
    ctx.run(linear.MatMul(), x, Wire((ROW, 3), 33, 0, static=True))
    ctx.run(linear.MatMul(), x, Wire((ROW, 3), 33, 0))
    assert ctx.tally.total().precomputed == 2 * (2 * 3 * WORD)


def test_shared_values_go_to_the_party_that_was_sent_less() -> None:
    ctx = Counting()
    sizes = (8, 8, 16, 40, 8, 24, 8)
    assert [ctx.share((1,), bits) for bits in sizes] == [1, 0, 1, 0, 1, 1, 0]
    assert ctx.tally.total() == Cost(prep0=7, prep1=7)


def test_the_mask_share_of_a_dropped_wire_is_dealt_once_and_only_if_the_dealer_dropped_it() -> None:
    ctx = Counting()
    ctx.run(linear.ToShare(), ctx.open(Share((2, ROW), 40, 8), 8))
    assert ctx.tally.total() == Cost(1, SIZE * 5)
    ctx = Counting()
    dropped = drop_bits(ctx.open(Share((2, ROW), 40, 8)), 8)
    for _ in range(2):
        ctx.run(linear.ToShare(), dropped)
    assert ctx.tally.total() == Cost(1, SIZE * 5, 0, SIZE * 4)


def _select(ctx: Counting) -> Wire:
    return selection.require_one_row(ctx, selection.open_sums(ctx, Share((2, ROW), 64, 0)))


def _alarm(ctx: Counting) -> Share:
    alarm.begin(ctx)
    return alarm.in_range(ctx, alarm.open_combinations(ctx))


def _activate(name: str) -> Callable[[Counting], Any]:
    return lambda ctx: activation.activate(ctx, wire(20, 12), name, K)


BIT = SIZE // 8
COMPOSITES: dict[str, tuple[Callable[[Counting], Any], Cost]] = {
    "lookup": (
        lambda ctx: table.lookup(ctx, wire(20), TABLE, K),
        Cost(
            1,
            SIZE * TABLE.bits // 8,
            SIZE * point(20),
            SIZE * (point(20) + (2 * K + 3 * (K - TABLE.bits)) / 8),
        ),
    ),
    **{
        name: (
            _activate(name),
            Cost(0, 0, *2 * (SIZE * (16 * (8 - block) + lanes * 7),)),
        )
        for name, block, lanes in (("gelu", 2, 8), ("gelu_tanh", 2, 8), ("silu", 2, 8), ("tanh", 1, 6))
    },
    "alarm": (
        _alarm,
        Cost(1, 6, *2 * (32 + point(40),)),
    ),
    "from_bits": (
        lambda ctx: bits.from_bits(ctx, wire(1), K),
        Cost(0, 0, 0, SIZE * ELEMENT),
    ),
    "power": (
        lambda ctx: power.factor(ctx, wire(20), power.Power(-1.0, 6, 12, 16, lanes=power.INVERSE)),
        Cost(1, SIZE * 62 // 8, *2 * (SIZE * (16 * 16 + 4 * WORD * 6),)),
    ),
    "relu": (
        lambda ctx: activation.relu(ctx, wire(20), K),
        Cost(1, BIT, SIZE * point(19), SIZE * (point(19) + (2 * K + 3 * 24) / 8) + BIT),
    ),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite(name: str) -> None:
    program, cost = COMPOSITES[name]
    ctx = Counting()
    program(ctx)
    ctx.flush()
    in_balance(ctx.tally.total(), cost)


@pytest.mark.parametrize("by_bits", [False, True])
@pytest.mark.parametrize(("fine", "passes"), [(10, 1), (6, 2)])
def test_openings_of_a_maximum(fine: int, passes: int, by_bits: bool) -> None:
    ctx = Counting()
    histogram.distance_below_max(ctx, wire(18, 6), 10, fine, worth=-1 if by_bits else histogram.ROUND)
    ctx.flush()
    online = 255 + 2  # for two rows: counts up to 12 in four bits, and numbers of 8
    online += by_bits * 2  # eight bits
    if passes == 2:
        window = 2 ** (10 - fine + 1) + 2
        online += window + 3  # and of 12
        online += by_bits * 2  # six bits
    assert (ctx.rounds, ctx.tally.total().online) == (passes * (3 if by_bits else 2), online)


def test_single_bits_take_a_round_where_they_save_more_than_it_is_worth() -> None:
    """80 bytes a count by lanes, 32 by bits."""
    for rows, by_lanes in ((histogram.ROUND // 48, True), (histogram.ROUND // 48 + 1, False)):
        assert histogram.by_lanes(Wire((rows, 1), 8, 0), 8) is by_lanes
    counts = Wire((1000, 127), 8, 0)
    spent = []
    for gate in (lambda ctx: ctx.run(histogram.CountZeros(8), counts), by_single_bits(counts)):
        ctx = Counting()
        gate(ctx)
        spent.append(ctx.tally.total())
    assert [cost.prep0 // 127_000 for cost in spent] == [80, 32]
    assert [cost.rounds for cost in spent] == [0, 1]


def by_single_bits(counts: Wire) -> Callable[[Counting], Share]:
    return lambda ctx: histogram.zeros_by_bits(ctx, counts, 7, last=True)


@pytest.mark.parametrize("row", range(1, 10))
def test_a_halving_takes_two_rounds(row: int) -> None:
    ctx = Counting()
    x = ctx.open(Share((2, row), 20, 0))
    ctx.open(argmax.argmax(ctx, x))
    ctx.flush()
    assert ctx.rounds == 1 + 2 * (row - 1).bit_length()


@pytest.mark.parametrize(("row", "left", "last"), [(2, 0, 0), (3, 2, 1), (4, 2, 0), (5, 5, 2), (9, 10, 3)])
def test_cost_of_a_place(row: int, left: int, last: int) -> None:
    """`left`: entries opened again after a halving; `last`: of those, how many had no partner."""
    ctx, size = Counting(), 16  # so that all is whole bytes
    argmax.argmax(ctx, Wire((size, row), 24, 0))
    ctx.flush()
    compared, places = row - 1, ring.index_bits(row)
    kept = left - last  # winners that are opened again
    first = row // 2  # places that are no wires yet
    second = size * (3 * 2 * kept + (2 * (compared - first) + first) * places / 8) + size * compared / 8
    online = size * (left * (24 + places) + compared) / 8
    both = size * compared * point(23)
    in_balance(ctx.tally.total(), Cost(2 * (row - 1).bit_length() - 1, online, both, both + second))


def test_every_gate_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    gates = [gate for gate in base.Gate.__subclasses__() if gate.__module__.startswith("privinf.")]
    assert len(gates) >= 13
    for gate in gates:
        assert f"`{gate.__name__}`" in text
        assert f"`{gate.__module__.rsplit('.', 1)[1]}.py`" in text
