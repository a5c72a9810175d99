"""What a client is given of a pass's logits: all of them, cut, or the place of the largest alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from privinf.models import plan as p
from privinf.models.decoder_plan import DecoderPlan
from privinf.protocols.gates.linear import ToShare
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.wires import Share, narrow


def logits(ctx: Interpreter, plan: DecoderPlan, x: Share) -> Share:
    """All logits, cut to the client's scale on a fresh wire, so that their shares say nothing else."""
    share: Share = ctx.run(ToShare(), ctx.open(narrow(x, plan.result_bits), p.LINEAR - p.RESULT))
    return share


ANSWERS: Mapping[str, Callable[[Interpreter, DecoderPlan, Share], Share]] = {"generate": logits}
