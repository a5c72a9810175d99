"""The alarm of ranges: what it flags and misses, that honest values never raise it, what it costs and what it opens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from privinf.protocols import prg, ring
from privinf.protocols.kernels.excess import COMBINATIONS
from privinf.protocols.masked.gates import alarm, power
from privinf.protocols.masked.gates.linear import ToShare
from privinf.protocols.masked.gates.product import Product, SumSquares
from privinf.protocols.masked.gates.watch import Watch, minus, watch
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, narrow
from privinf.protocols.testing import lockstep, sessions, uniform
from privinf.protocols.testing.trials import I64, share

BITS = 34
HALF = 1 << (BITS - 1)
SEEDS = (b"\x21" * 32, b"\x22" * 32)
KEYED = 544 + 32  # to both parties: the point function, the coins
OPENED = COMBINATIONS * 2 // 8 + 1  # the combinations, and the byte that hides the bit


def bit_of(ctx: Interpreter) -> Share:
    return alarm.in_range(ctx, alarm.open_combinations(ctx))


def lifted(ctx: Interpreter, x: Share, *, drop: int = 0, checked: bool = True) -> Sequence[Share]:
    """A value that is lifted and squared."""
    if checked:
        alarm.begin(ctx)
    wire = ctx.open(narrow(x, BITS + drop), drop)
    out: list[Share] = [ctx.run(Product(64), wire)]
    return [*out, bit_of(ctx)] if checked else out


def watching(ctx: Interpreter, x: Share, *, opened: int = BITS, drop: int = 0) -> Sequence[Share]:
    """A value that is used in its own ring, and checked in that of BITS bits."""
    alarm.begin(ctx)
    wire = ctx.open(narrow(x, opened), drop)
    watch(ctx, wire, BITS)
    return [ctx.run(ToShare(), wire), bit_of(ctx)]


def whole(x: I64) -> Share:
    return share(np.asarray(x, dtype=np.int64), 64)


def answers(program: lockstep.Program, x: I64, times: int) -> list[bool]:
    """Whether all is said to be in range, in as many runs of all roles; ideal and shares say the same."""
    found = []
    for _ in range(times):
        seeds = prg.fresh_seed(), prg.fresh_seed()
        first, second = (result[-1] for result in lockstep.run(program, [whole(x)], seeds).results)
        said = int(first.value[0] ^ second.value[0])
        assert said == int(lockstep.ideal(program, [whole(x)], seeds)[-1].value[0])
        found.append(bool(said))
    return found


def ideally(program: lockstep.Program, x: I64, times: int) -> float:
    """The part of runs of the ideal interpreter that raise the alarm."""
    said = [
        lockstep.ideal(program, [whole(x)], (prg.fresh_seed(), prg.fresh_seed()))[-1].value[0]
        for _ in range(times)
    ]
    return 1 - float(np.mean(said))


@pytest.mark.parametrize("drop", [0, 10])
def test_a_lift_is_flagged_exactly_where_it_is_wrong(drop: int) -> None:
    rng = np.random.default_rng(drop)
    for size in (0.2, 0.24, 0.26, 0.4, 0.6, 0.9, 1.5, 3.1):
        x = np.array([int(size * (1 << BITS)) << drop]) * rng.choice([-1, 1])
        for _ in range(12):
            seeds = prg.fresh_seed(), prg.fresh_seed()
            value, bit = lockstep.ideal(lambda c, x: lifted(c, x, drop=drop), [whole(x)], seeds)
            right = abs(int(value.value.view(np.int64)[0]) - (int(x[0]) >> drop)) <= 2
            assert bool(bit.value[0]) == right, size
    assert all(answers(lambda c, x: lifted(c, x, drop=drop), np.array([1 << 20 + drop, -5 << drop]), 3))
    assert not any(answers(lambda c, x: lifted(c, x, drop=drop), np.array([3 << BITS - 1 + drop]), 3))


@pytest.mark.parametrize(
    ("opened", "drop"), [(BITS, 0), (BITS + 2, 0), (BITS + 10, 10), (64, 0), (BITS + 12, 10)]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_watched_wire_is_flagged_by_its_size(opened: int, drop: int, sign: int) -> None:
    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        return watching(ctx, x, opened=opened, drop=drop)

    def at(size: float) -> I64:
        return np.array([sign * (int(size * HALF) << drop), 17, -3])

    assert ideally(program, at(0.874), 40) == 0
    assert ideally(program, at(1.126), 40) == 1
    assert 0.2 < ideally(program, at(1.0), 120) < 0.8
    assert all(answers(program, at(0.874), 3))
    assert not any(answers(program, at(1.126), 3))
    assert not any(answers(program, at(6.8), 2))  # the check's ring has four times as many values


def test_values_far_outside_are_missed_a_quarter_of_the_time_alone_and_not_together() -> None:
    rng = np.random.default_rng(5)
    wild = [rng.integers(-(1 << 50), 1 << 50, 1) for _ in range(200)]
    assert 0.6 < float(np.mean([ideally(watching, x, 1) for x in wild])) < 0.88
    assert all(ideally(watching, rng.integers(-(1 << 50), 1 << 50, 64), 1) for _ in range(40))


@pytest.mark.parametrize(("rings", "bound"), [(1, 0.25), (2, 0.5)])
def test_one_combination_misses_what_it_may(rings: int, bound: float) -> None:
    """Of all twenty together the chance is the product."""
    x, times = np.array([0, rings << BITS, 0]), 400
    found = np.zeros((times, COMBINATIONS), dtype=np.uint64)

    def sums(ctx: Interpreter, x: Share) -> Sequence[Share]:
        watching(ctx, x)
        assert ctx.watched is not None
        return [Share((COMBINATIONS,), 2, 0, ctx.watched.sums)]

    for i in range(times):
        seeds = prg.fresh_seed(), prg.fresh_seed()
        found[i] = lockstep.ideal(sums, [whole(x)], seeds)[0].value
    missed = (found == 0).mean(axis=0)
    assert np.all(np.abs(missed - bound) < 6 * np.sqrt(bound * (1 - bound) / times))
    assert found.any(axis=1).all()


def test_a_million_honest_elements_raise_no_alarm() -> None:
    rng = np.random.default_rng(6)
    quarter, most = 1 << (BITS - 2), 7 << (BITS - 4)
    near = rng.integers(-quarter + 2, quarter - 2, 1 << 19)
    assert all(answers(lambda c, x: lifted(c, x, drop=3), near << 3, 1))
    assert all(answers(watching, rng.integers(-most, most, 1 << 19), 1))


def test_all_places_of_a_small_ring() -> None:
    """Each value with each mask, of a ring of five bits: in range never, beyond as told."""
    for value in range(-40, 41):
        x = np.full(512, value)

        def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
            alarm.begin(ctx)
            ctx.run(Watch(5), ctx.open(narrow(x, 5)))
            return [bit_of(ctx)]

        (said,) = lockstep.ideal(program, [whole(x)], (prg.fresh_seed(), SEEDS[1]))
        if abs(value) <= 14:
            assert said.value[0] == 1
        elif abs(value) >= 18:
            assert said.value[0] == 0


POWER = power.Power(-0.5, 20, 40, 24, numerator=7)


def powered(ctx: Interpreter, x: Share) -> Sequence[Share]:
    alarm.begin(ctx)
    factor = power.factor(ctx, ctx.open(narrow(x, 48)), POWER)
    return [ctx.run(Product(64), factor), bit_of(ctx)]


@pytest.mark.parametrize(
    ("exponents", "fine"),
    [
        ((20.0, 39.9), True),
        ((25.0, 30.0), True),
        ((19.5, 30.0), False),
        ((25.0, 40.2), False),
        ((3.0, 46.0), False),
    ],
)
def test_a_power_that_saturates_is_flagged(exponents: tuple[float, ...], fine: bool) -> None:
    x = np.array([int(np.ceil(2.0**e)) for e in exponents])
    assert set(answers(powered, x, 4)) == {fine}


def test_the_answer_is_what_it_is_without_the_alarm_but_for_the_declared_bytes() -> None:
    x = whole(np.arange(-50, 50))
    plain = lockstep.run(lambda c, x: lifted(c, x, checked=False), [x], SEEDS)
    alarmed = lockstep.run(lifted, [x], SEEDS)
    before, after = (run.tallies[1].total() for run in (plain, alarmed))
    assert (after.online - before.online, after.prep1 - before.prep1) == (OPENED, KEYED)
    assert len(plain.transcripts[0]) + 1 == len(
        alarmed.transcripts[0]
    )  # nothing else is opened that late here
    for one, other in zip(plain.results, alarmed.results, strict=True):
        assert other[1].shape == (1,)
        assert one[0].shape == other[0].shape
    totals = [ring.low(a[0].value + b[0].value, 64) for a, b in (plain.results, alarmed.results)]
    np.testing.assert_array_equal(*totals)


def test_a_watched_wire_costs_two_bytes_an_element() -> None:
    def program(ctx: Interpreter, x: Share) -> None:
        wire = ctx.open(narrow(x, BITS))
        ctx.flush()
        watch(ctx, wire, BITS)

    x = whole(np.arange(100))
    assert lockstep.declared(program, [x]).tally.total().prep1 == 0  # nothing without an alarm
    total = lockstep.declared(lambda c, x: (alarm.begin(c), program(c, x)), [x]).tally.total()
    assert total.prep0 + total.prep1 == 2 * 32 + 200


def test_a_share_without_room_is_refused() -> None:
    def program(ctx: Interpreter, x: Share) -> None:
        alarm.begin(ctx)
        ctx.run(Watch(BITS), ctx.open(x))

    with pytest.raises(ValueError, match="room"):
        lockstep.declared(program, [Share((3,), BITS + 1, 0)])


def test_differences_of_lanes_do_not_carry() -> None:
    a, b = (np.random.default_rng(i).integers(0, 1 << 16, 1000, dtype=np.uint64) for i in (1, 2))
    for lane in range(8):
        one, other, both = ((v >> np.uint64(2 * lane)) & np.uint64(3) for v in (a, b, minus(a, b)))
        np.testing.assert_array_equal(both, (one - other) & np.uint64(3))


def test_parties_turn_the_bit_by_one_that_no_seed_gives() -> None:
    x, seen = whole(np.array([1])), set()
    for _ in range(40):
        first, second = (result[-1].value[0] for result in lockstep.run(watching, [x], SEEDS).results)
        assert first ^ second == 1
        seen.add(int(first))
    assert seen == {0, 1}  # under the same seeds and masks


def test_openings_look_uniform_whatever_the_values() -> None:
    for value in (5, HALF * 3):
        x = whole(np.full(9, value))
        seeds = [(prg.fresh_seed(), prg.fresh_seed()) for _ in range(120)]
        runs = [sessions.session(watching, [x], pair) for pair in seeds]
        assert uniform.opened_surprise(runs) < uniform.SURPRISE


def test_a_saturated_sum_of_squares_and_its_rows_are_checked_together() -> None:
    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        alarm.begin(ctx)
        squares = ctx.run(SumSquares(62), ctx.open(narrow(x, 24)))
        return [squares, bit_of(ctx)]

    assert set(answers(program, np.array([[1 << 21, -(1 << 21)]]), 3)) == {True}
    assert set(answers(program, np.array([[1 << 21, 7 << 21]]), 3)) == {False}


def test_a_party_holds_no_combination_that_was_not_watched() -> None:
    assert Party(0, bytes(16), bytes(32), lockstep.Tape([]), None).watched is None  # type: ignore[arg-type]
