"""Bits that a client chooses: taken into a larger ring, and as the sign of a wire, with no factor left to choose."""

from __future__ import annotations

import numpy as np

from privinf.protocols.gates.linear import ToShare
from privinf.protocols.gates.product import Lift, Product
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.wires import Share, Wire, map_share, narrow, subtract


def from_bits(ctx: Interpreter, x: Wire, bits: int) -> Share:
    """[b] modulo 2^bits of opened bits, which were shared modulo 2; no round.

    Domain: whatever a client shared: the result is 0 or 1; exact. With o = b xor rho opened, [b] = o + (1 - 2 o) [rho]
    takes one dealt element a bit. For several rings ask for the largest and `narrow` it.
    """
    _require(x)
    lifted: Share = ctx.run(Product(bits), x)
    return lifted


def with_sign(ctx: Interpreter, x: Wire, negative: Wire, bits: int) -> Share:
    """[x] modulo 2^bits where a bit is 0, and [-x] where it is 1; no round.

    Domain: any x of a ring of `bits` or more; a narrower one is lifted, so |x| < 2^(n-2). Exact.
    """
    _require(negative)
    twice: Share = ctx.run(Product(bits), negative, x)
    whole: Share = ctx.run(Lift(bits) if x.bits < bits else ToShare(), x)
    return subtract(narrow(whole, bits), map_share(twice, twice.shape, lambda v: v * np.uint64(2)))


def _require(x: Wire) -> None:
    if x.bits != 1:
        raise ValueError(f"a bit is an element of a ring of one bit, not of {x.bits}")
