"""One schedule for every role: when openings leave, what they are called, and what is dealt only once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from privinf.protocols.cost import NETWORKS, Cost, Network, Tally
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates.compare import AtLeast
from privinf.protocols.masked.gates.linear import MatMul, ToShare
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import share

SEEDS = (b"\x01" * 32, b"\x02" * 32)
X = share(np.array([[3, -4], [100, 7]]), 40, 4)
Y = share(np.array([[1, 2], [-3, 5]]), 40, 4)


def run(program: lockstep.Program, *inputs: Share) -> lockstep.Lockstep:
    return lockstep.run(program, inputs, SEEDS)


def test_openings_that_nothing_waits_for_share_a_round() -> None:
    def program(ctx: Interpreter, x: Share, y: Share) -> Sequence[Share]:
        a, b = ctx.open(x), ctx.open(y)
        return [ctx.run(MatMul(), a, b), ctx.run(MatMul(), b, a)]

    ran = run(program, X, Y)
    assert [len(m) for m in ran.transcripts[0]] == [2 * 4 * 5]
    assert lockstep.declared(program, [X, Y]).rounds == 1


def test_a_gate_waits_only_for_what_it_reads() -> None:
    def program(ctx: Interpreter, x: Share, y: Share) -> Sequence[Share]:
        first = ctx.open(x)
        square = ctx.run(Product(40), first, first)
        second = ctx.open(y)
        third = ctx.open(square)
        again = ctx.run(Product(40), first, first)  # the first opening is there: no round
        return [again, ctx.run(Product(40), second, third)]

    assert [len(m) for m in run(program, X, Y).transcripts[1]] == [20, 40]


def test_what_is_queued_last_leaves_at_the_end() -> None:
    wires = []

    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        wires.append(ctx.open(x))
        return []

    ran = run(program, X)
    assert [len(t) for t in ran.transcripts] == [1, 1]
    dealt, *_, first, second = wires
    np.testing.assert_array_equal(first.public, second.public)
    np.testing.assert_array_equal((first.public - dealt.secret) & np.uint64((1 << 40) - 1), X.value)


def test_an_idle_flush_is_no_round() -> None:
    ctx = Counting()
    ctx.flush()
    ctx.open(Share((3,), 8, 0))
    ctx.flush()
    ctx.flush()
    assert (ctx.rounds, ctx.tally.total().rounds) == (1, 1)


def _names(program: lockstep.Program, inputs: Sequence[Share]) -> dict[str, list[str]]:
    """Return the names that each role gives to its openings and gates."""
    seen: dict[str, list[str]] = {}

    def spied(ctx: Interpreter, *given: Share) -> Any:
        rename, names = ctx._rename, seen.setdefault(f"{type(ctx).__name__}{getattr(ctx, 'index', '')}", [])

        def record(what: str) -> None:
            rename(what)
            names.append(ctx.name)

        ctx._rename = record  # type: ignore[method-assign]
        return program(ctx, *given)

    lockstep.run(spied, inputs, SEEDS)
    lockstep.ideal(spied, inputs, SEEDS)
    lockstep.declared(spied, inputs)
    return seen


def _layered(ctx: Interpreter, x: Share, y: Share) -> Sequence[Share]:
    with ctx.scope("layer0"):
        a = ctx.open(x, 3)
        with ctx.scope("attn"):
            product = ctx.run(MatMul(), a, ctx.open(y))
        (bit,) = ctx.run(AtLeast((2,)), a)
    with ctx.scope("layer1"):
        return [
            ctx.run(Product(64), ctx.open(bit), a),
            ctx.run(ToShare(), ctx.open(product)),
            ctx.run(Product(64), a),
        ]


def test_every_role_gives_the_same_names_and_none_twice() -> None:
    seen = _names(_layered, [X, Y])
    assert set(seen) == {"Dealer", "Ahead0", "Ahead1", "Party0", "Party1", "Ideal", "Counting"}
    first = seen["Dealer"]
    assert all(names == first for names in seen.values())
    assert len(set(first)) == len(first)
    assert first[0].startswith("layer0/open#")
    assert any(name.startswith("layer0/attn/matmul#") for name in first)


def test_costs_are_kept_by_scope() -> None:
    ran, declared = run(_layered, X, Y), lockstep.declared(_layered, [X, Y])
    assert set(declared.tally.top()) == {"layer0", "layer1"}
    for tally in ran.tallies:
        for scope, cost in declared.tally.by_scope.items():
            assert (tally.by_scope[scope].rounds, tally.by_scope[scope].online) == (cost.rounds, cost.online)
    assert ran.dealer_tally.by_scope == declared.tally.by_scope
    assert sum(declared.tally.top().values(), Cost()) == declared.tally.total()


def test_mask_shares_and_lifts_are_dealt_once_a_wire() -> None:
    def dropped(times: int) -> lockstep.Program:
        def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
            wire = ctx.open(x, 4)
            return [ctx.run(gate, wire) for gate in (ToShare(), Product(64)) for _ in range(times)]

        return program

    once, thrice = (lockstep.declared(dropped(n), [X]).tally.total() for n in (1, 3))
    assert once == thrice
    assert (once.prep0, once.prep1) == (
        4 * 28 // 8,
        4 * 28 // 8,
    )  # the lift's two in 64 - 36 bits, one to each
    assert run(dropped(3), X).left == (0, 0)


def test_lifts_into_two_rings_are_two() -> None:
    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        wire = ctx.open(x)
        return [ctx.run(Product(bits), wire) for bits in (48, 64, 48)]

    total = lockstep.declared(program, [X]).tally.total()
    assert total.prep0 == total.prep1 == 4 * (8 + 24) // 8


def test_fresh_masks_for_one_share_opened_twice() -> None:
    opened = []

    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        opened.append((ctx.open(x), ctx.open(x)))
        return []

    run(program, X)
    for first, second in opened[-2:]:
        assert not (first.public == second.public).any()


def test_public_terms_are_added_once() -> None:
    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        return [ctx.add_public(x, np.full(x.shape, 9, dtype=np.uint64))]

    (first,), (second,) = run(program, X).results
    np.testing.assert_array_equal(
        (first.value + second.value - X.value) & np.uint64((1 << 40) - 1), np.full((2, 2), 9)
    )


def test_networks() -> None:
    assert set(NETWORKS) == {"loopback", "lan", "wan"}
    assert Network(0.5, 100.0).seconds(Cost(rounds=4, online=300)) == pytest.approx(4.0)


def test_tally_adds_up() -> None:
    tally = Tally()
    for scope in ("a/b", "a/c", "a/b", "d"):
        tally.add(scope, Cost(1, 2, 3, 4))
    assert tally.by_scope["a/b"] == Cost(2, 4, 6, 8)
    assert tally.top() == {"a": Cost(3, 6, 9, 12), "d": Cost(1, 2, 3, 4)}
