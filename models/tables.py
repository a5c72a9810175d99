"""A fingerprint of every table that a plan's gates use: dealer and parties must hold the same integers.

The entries come from a machine's mathematical library, where the last digit may differ from another's. One entry
that dealer and parties round differently would turn an answer into noise, so the owner's plan names them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from privinf.errors import ModelError
from privinf.models import plan as p
from privinf.models.plan import Plan
from privinf.models.spec import EncoderSpec
from privinf.protocols.gates import activation, exp2, power, softmax
from privinf.protocols.gates.separable import Factors
from privinf.text import BUCKETS


def fingerprint(spec: EncoderSpec, plan: Plan) -> str:
    """SHA-256 over the tables, in hexadecimal."""
    digest = hashlib.sha256()
    for factors in _factors(spec, plan):
        digest.update(repr((factors.first, factors.far, factors.scale, factors.near.shape)).encode())
        digest.update(factors.payload.tobytes())
        digest.update(factors.near.tobytes())
    for about in _powers(plan):
        for start in about.starts:
            digest.update(power.table(about, start).entries.tobytes())
    return digest.hexdigest()


def verify(spec: EncoderSpec, plan: Plan) -> None:
    """Raise ModelError where this machine computes other tables than the one on which the model was shared."""
    if fingerprint(spec, plan) != plan.tables:
        raise ModelError(
            "this machine's mathematical library rounds the model's tables otherwise than the owner's: "
            "share the model again on a machine like the servers'"
        )


def _factors(spec: EncoderSpec, plan: Plan) -> Iterator[Factors]:
    names = [p.SAME_ACTIVATION.get(spec.activation, spec.activation)]
    for name in names + (["tanh"] if spec.head != "none" else []):
        if name != "relu":
            yield activation.factors(name, p.X)
    for fine in sorted({layer.attention.fine for layer in plan.layers}):
        yield exp2.factors(p.SCORES, softmax.weight_scale(fine))


def _powers(plan: Plan) -> Iterator[power.Power]:
    yield plan.embed_norm.power()
    for layer in plan.layers:
        yield layer.attention_norm.power()
        yield layer.ffn_norm.power()
        for tokens in (*(b for b in BUCKETS if b < plan.max_tokens), plan.max_tokens):
            yield softmax.inverse_power(tokens, layer.attention.fine)
