"""Beyond a lift's domain the fixed interpreter gives the same wrong value as the shares, so calibration sees it."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.protocols import prg, ring
from privinf.protocols.masked.gates.product import Product, SumSquares
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep

BITS, DROP = 32, 8
BEYOND = np.array([[1 << 22, int(1.77 * 2**22), (1 << 23) - 1, -(1 << 22) - 1, -(1 << 23)]])


@pytest.mark.parametrize("gate", [Product(64), SumSquares(62)], ids=lambda gate: type(gate).__name__)
def test_shares_and_ideal_are_wrong_alike(gate: Product | SumSquares) -> None:
    def program(ctx: Interpreter, x: Share) -> Share:
        result: Share = ctx.run(gate, ctx.open(x, DROP))
        return result

    x = Share(BEYOND.shape, BITS, 0, ring.low((BEYOND << DROP).view(np.uint64), BITS))
    wrong = 0
    for _ in range(20):
        seeds = prg.fresh_seed(), prg.fresh_seed()
        first, second = lockstep.run(program, [x], seeds).results
        ideal = lockstep.ideal(program, [x], seeds)
        total = ring.low(first.value + second.value, first.bits)
        assert np.array_equal(total, ring.low(ideal.value, first.bits))
        right = (BEYOND**2).sum(axis=-1, keepdims=True) if isinstance(gate, SumSquares) else BEYOND
        off = ring.signed(total, first.bits) - right
        wrong += int((np.abs(off) > 1 << 20).sum())
    assert wrong
