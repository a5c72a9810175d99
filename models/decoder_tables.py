"""The fingerprint of every table that a decoder's gates use: dealer and parties must hold the same integers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from privinf.models import plan as p
from privinf.models.decoder_plan import ATTENTION, DecoderPlan
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.engines.positions import circle
from privinf.models.parts import rotary_of
from privinf.models.tables import digest_tables, require_equal
from privinf.protocols.gates import activation, exp2, power, softmax
from privinf.protocols.gates.separable import Factors


def fingerprint(spec: DecoderSpec, plan: DecoderPlan) -> str:
    """SHA-256 over the tables, in hexadecimal."""
    digest = hashlib.sha256()
    digest_tables(digest, _factors(spec, plan), _powers(plan))
    rotary = rotary_of(spec)
    if rotary is not None:
        for part in circle(rotary, plan.max_tokens):
            digest.update(part.tobytes())
    return digest.hexdigest()


def verify(spec: DecoderSpec, plan: DecoderPlan) -> None:
    """Raise ModelError where this machine computes other tables than the one on which the model was shared."""
    require_equal(fingerprint(spec, plan), plan.tables)


def _factors(spec: DecoderSpec, plan: DecoderPlan) -> Iterator[Factors]:
    name = p.SAME_ACTIVATION.get(spec.activation, spec.activation)
    if name != "relu":
        yield activation.factors(name, p.X)
    for fine in sorted({layer.attention.fine for layer in plan.layers}):
        yield exp2.factors(p.SCORES, softmax.weight_scale(fine))


def _powers(plan: DecoderPlan) -> Iterator[power.Power]:
    yield plan.final_norm.power()
    for layer in plan.layers:
        yield layer.attention_norm.power()
        yield layer.ffn_norm.power()
    octaves = range(
        (plan.max_tokens - 1).bit_length() + 1
    )  # an inverse sum depends on no more of a row's length
    for fine in sorted({layer.attention.fine for layer in plan.layers}):
        for octave in octaves:
            yield ATTENTION.inverse(1 << octave, fine)
