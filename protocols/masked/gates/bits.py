"""Bits, such as a client chooses, taken into a larger ring: with no factor left to choose."""

from __future__ import annotations

from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire


def from_bits(ctx: Interpreter, x: Wire, bits: int) -> Share:
    """[b] modulo 2^bits of opened bits, which were shared modulo 2; no round.

    Domain: whatever was shared, by a client even: the result is 0 or 1; exact. With o = b xor rho opened,
    [b] = o + (1 - 2 o) [rho] takes one dealt element a bit. For several rings ask for the largest and `narrow` it.
    """
    if x.bits != 1:
        raise ValueError(f"a bit is an element of a ring of one bit, not of {x.bits}")
    lifted: Share = ctx.run(Product(bits), x)
    return lifted
