"""Powers of wires: at every edge, within their bounds, in as few rounds as said; what has no power is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from privinf.protocols import ring
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates import power, softmax
from privinf.protocols.masked.gates.norm import NormSpec, normalise
from privinf.protocols.masked.gates.power import FINE_ROOT, INVERSE, POWER_BITS, ROOT, Power, Powers
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import held, share

SEEDS = (b"\x01" * 32, b"\x02" * 32)
NORM = NormSpec(768, 35, 10, 16, -11, 8, 1e-12, 28, 12, 35)
POWERS = {
    "sum of 128 weights": (softmax.inverse_power(128, 2), 28),
    "deviation": (NORM.power(), NORM.square_bits),
    "deviation before a head": (replace(NORM.power(), lanes=FINE_ROOT), NORM.square_bits),
    "whole words": (Power(-0.5, 30, 63, 40), 64),
    "with an offset": (Power(-1.0, 6, 12, 20, 3, offset=77, lanes=INVERSE), 13),
}


@pytest.mark.parametrize("name", POWERS)
def test_edges(name: str) -> None:
    """Shares add up to the ideal functionality bit for bit; both ends' powers are exact where they are constant."""
    about, bits = POWERS[name]
    low, high, offset = 1 << about.low, 1 << about.high, about.offset
    end = (1 << bits) - (1 << (about.high - 3))
    edges = [0, 1, low - 1, low, low + 1, 2 * low - 1, 2 * low, high - 1, high, high + high // 8, end]
    x = np.array([min(edge, (1 << 63) - 1) - offset for edge in edges if edge >= offset])

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Powers(about), ctx.open(a))]

    ran = lockstep.run(program, [share(x, bits)], SEEDS)
    (wanted,) = lockstep.ideal(program, [share(x, bits)], SEEDS)
    total = ran.results[0][0].value + ran.results[1][0].value
    np.testing.assert_array_equal(total, wanted.value)
    marked, result = total >> np.uint64(POWER_BITS), ring.low(total, POWER_BITS)
    value, real = result.astype(np.float64) * 2.0**-about.lanes.extra, about.at(x)
    whole = x.astype(np.float64) + offset
    inside = (whole >= low) & (whole < high)
    assert (np.abs(value - real) <= real * about.relative + about.units)[inside].all()
    beyond = (whole < 3 * low / 4) | (whole >= 9 * high / 8)
    assert not marked[inside].any()  # what the alarm sees
    assert (marked[beyond] == 1).all()
    assert (np.abs(value - real) <= 2.0 ** -(about.lanes.extra + 1) + real * 2.0**-50)[beyond].all()


@pytest.mark.parametrize("name", POWERS)
def test_errors_stay_within_their_bounds_over_the_whole_range(name: str) -> None:
    """And are not far below: a bound that nothing reaches says little."""
    about, bits = POWERS[name]
    rng = np.random.default_rng(4)
    x = np.floor(2.0 ** rng.uniform(about.low, about.high, 60_000)).astype(np.int64)
    x = x[x >= about.offset] - about.offset

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        wire = ctx.open(a)
        return [ctx.run(Powers(about), wire), held(ctx, power.factor(ctx, wire, about))]

    finer, dropped = lockstep.ideal(program, [share(x, bits)], SEEDS)
    real = about.at(x)
    error = np.abs(finer.value.astype(np.float64) * 2.0**-about.lanes.extra - real)
    assert 0.3 < (error / (real * about.relative + about.units)).max() <= 1
    coarse = dropped.value.astype(np.float64) - real
    assert np.abs(coarse).max() < 1 + (real * about.relative + about.units).max()


@pytest.mark.parametrize(
    ("exponent", "lanes", "relative", "units"),
    [(-1.0, INVERSE, 2.0**-11.3, 0.29), (-0.5, ROOT, 2.0**-10.6, 0.14), (-0.5, FINE_ROOT, 2.0**-13.5, 0.15)],
)
def test_bounds_are_those_documented(
    exponent: float, lanes: power.Lanes, relative: float, units: float
) -> None:
    about = Power(exponent, 10, 20, 16, lanes=lanes)
    assert relative * 0.9 < about.relative < relative
    assert units * 0.9 < about.units < units


def test_a_normalisation_takes_four_rounds_and_a_sum_one() -> None:
    ctx = Counting()
    normalise(ctx, Share((2, 768), 64, 26), NORM)
    ctx.flush()
    assert ctx.rounds == 4
    ctx = Counting()
    softmax.inverse_sum(ctx, Wire((2, 128), 40, 0), 2)
    ctx.flush()
    assert ctx.rounds == 1


@pytest.mark.parametrize(("width", "bits", "drop"), [(768, 35, 10), (576, 30, 4), (5, 20, 0), (4096, 40, 3)])
def test_a_row_of_squares_fits_its_wire(width: int, bits: int, drop: int) -> None:
    spec = replace(NORM, width=width, bits=bits, drop=drop)
    about, most = spec.power(), width << 2 * (bits - drop - 2)
    assert about.high < spec.square_bits <= 64
    assert spec.square_bits == 64 or most + about.offset + (1 << (about.high - 3)) <= 1 << spec.square_bits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exponent": -2.0}, "-1 or -1/2"),
        ({"exponent": 0.5}, "-1 or -1/2"),
        ({"low": 1}, "2 <= low"),
        ({"low": 20}, "low < high"),
        ({"high": 64}, "high <= 63"),
        ({"numerator": 0}, "numerator"),
        ({"offset": -1}, "offset"),
        ({"scale": -30}, "largest result"),
        ({"scale": 52}, "largest result"),
    ],
)
def test_what_has_no_power_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Power(-1.0, 10, 20, 16), **change)  # type: ignore[arg-type]


def test_a_wire_that_is_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match="need a wire of 21 bits, not 20"):
        Counting().run(Powers(Power(-0.5, 10, 20, 16)), Wire((3,), 20, 0))
