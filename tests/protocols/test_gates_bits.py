"""A client's bits leave it no choice but 0 and 1, however it shares them."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.protocols import prg, ring
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.testing import lockstep


def test_any_ring_element_in_place_of_a_bit_is_a_bit() -> None:
    """Parts of 64 random bits, as a client may send them, are taken modulo 2 and never as a factor."""
    x = prg.elements(prg.fresh_seed(), "bits", (2, 50), 64)

    def program(ctx: Interpreter, a: Share) -> Share:
        if a.data is not None:
            a = Share(
                a.shape, 1, 0, a.data + (prg.elements(prg.fresh_seed(), "high", a.shape, 63) << np.uint64(1))
            )
        return from_bits(ctx, ctx.open(a), 46)

    run = lockstep.run(program, [Share(x.shape, 1, 0, x)], (prg.fresh_seed(), prg.fresh_seed()))
    total = ring.low(run.results[0].value + run.results[1].value, 46)
    np.testing.assert_array_equal(total, x & np.uint64(1))


def test_a_larger_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="ring of one bit"):
        from_bits(Counting(), Wire((3,), 2, 0), 40)
