"""Truncation for one bit: floor or one more on the whole domain, unbiased, one bit an element and one round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privinf.protocols import ring
from privinf.protocols.masked.gates.truncate import truncate
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import I64, SEEDS, counted, examples, integers, shape, share, width


def _program(count: int) -> lockstep.Program:
    def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
        return [truncate(ctx, x, count)]

    return program


def _run(x: I64, bits: int, count: int, seeds: tuple[bytes, bytes]) -> tuple[I64, lockstep.Lockstep]:
    run = lockstep.run(_program(count), [share(x, bits, count)], seeds)
    (first,), (second,) = run.results
    assert (first.shape, first.bits, first.scale) == (x.shape, bits, 0)
    return ring.signed(ring.low(first.value + second.value, bits), bits), run


@examples(60)
@given(data=st.data())
def test_result_is_floor_or_one_more(data: st.DataObject) -> None:
    bits = width(data.draw, 3, 64)
    count = data.draw(st.sampled_from((1, bits - 2, (bits - 1) // 2)))
    quarter = 1 << (bits - 2)
    grid = [sign * (step << count) + near for sign in (-1, 1) for step in (1, 2) for near in (-1, 0, 1)]
    x = integers(data.draw, shape(data.draw, most=4), -quarter, quarter - 1, grid)
    seeds = data.draw(SEEDS)
    result, run = _run(x, bits, count, seeds)
    assert set(np.unique(result - (x >> count))) <= {0, 1}
    (ideal,) = lockstep.ideal(_program(count), [share(x, bits, count)], seeds)
    nearest = ring.signed(ideal.value, bits)
    assert set(np.unique(nearest - (x >> count))) <= {0, 1}
    np.testing.assert_array_less(np.abs(nearest - x / 2.0**count), 0.5 + 2.0 ** (bits - count - 50) + 1e-9)
    counted(_program(count), [share(x, bits, count)], None, run)


def test_one_round_one_bit_and_count_bits_of_preparation() -> None:
    declared = lockstep.declared(_program(12), [Share((40,), 64, 12)]).tally.total()
    assert (declared.rounds, declared.online, declared.prep0, declared.prep1) == (1, 5, 0, 40 * 12 // 8)


@pytest.mark.parametrize("fraction", [0, 1, 7, 8, 15])
def test_rounding_is_unbiased(fraction: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privinf.protocols.prg.fresh_seed", lambda: b"\x07" * 32)
    size, count = 20000, 4
    x = np.full(size, -(5 << count) + fraction, dtype=np.int64)
    up, _ = _run(x, 40, count, (b"\x01" * 32, b"\x02" * 32))
    expected = (fraction + 1) / 2**count
    assert abs((up + 5).mean() - expected) <= 5 * np.sqrt(expected * (1 - expected) / size)


@pytest.mark.parametrize("count", [0, 7, -1])
def test_a_cut_that_leaves_no_room_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="can be cut off"):
        lockstep.declared(_program(count), [Share((1,), 8, 0)])
