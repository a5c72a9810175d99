"""What a client is given of a pass's logits: all of them, cut, or the place of the largest alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from privinf.models import plan as p
from privinf.models.decoder_plan import LINEAR, DecoderPlan
from privinf.protocols.gates.argmax import argmax
from privinf.protocols.gates.linear import ToShare
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.wires import Share, Wire, narrow


def logits(ctx: Interpreter, plan: DecoderPlan, x: Share) -> Share:
    """All logits, cut to the client's scale on a fresh wire, so that their shares say nothing else."""
    share: Share = ctx.run(ToShare(), _opened(ctx, plan, x))
    return share


def token(ctx: Interpreter, plan: DecoderPlan, x: Share) -> Share:
    """The likeliest token of each row, the first of equals, on a fresh wire."""
    wire = _opened(ctx, plan, x)
    ctx.touch(wire)
    ctx.mask_share(wire)
    share: Share = ctx.run(ToShare(), ctx.open(argmax(ctx, wire)))
    return share


def _opened(ctx: Interpreter, plan: DecoderPlan, x: Share) -> Wire:
    return ctx.open(narrow(x, plan.result_bits), LINEAR - p.RESULT)


ANSWERS: Mapping[str, Callable[[Interpreter, DecoderPlan, Share], Share]] = {
    "generate": logits,
    "argmax": token,
}
