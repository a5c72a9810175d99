"""A fingerprint of every table that a plan's gates use: dealer and parties must hold the same integers.

The entries come from a machine's mathematical library, where the last digit may differ from another's. One entry
that dealer and parties round differently would turn an answer into noise, so the owner's plan names them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from privinf.errors import ModelError
from privinf.models import plan as p
from privinf.models.engines.relative import buckets
from privinf.models.plan import Plan
from privinf.models.spec import EncoderSpec
from privinf.models.text.tokenizer import BUCKETS
from privinf.protocols.gates import activation, exp2, power, softmax
from privinf.protocols.gates.separable import Factors


def fingerprint(spec: EncoderSpec, plan: Plan) -> str:
    """SHA-256 over the tables, in hexadecimal."""
    digest = hashlib.sha256()
    digest_tables(digest, _factors(spec, plan), _powers(plan))
    if spec.names.buckets:
        digest.update(buckets(plan.max_tokens).astype(np.int64).tobytes())
    return digest.hexdigest()


def digest_tables(digest: Any, factors: Iterable[Factors], powers: Iterable[power.Power]) -> None:
    """Feed tables to a hash."""
    for item in factors:
        digest.update(repr((item.first, item.far, item.scale, item.near.shape)).encode())
        digest.update(item.payload.tobytes())
        digest.update(item.near.tobytes())
    for about in powers:
        for start in about.starts:
            digest.update(power.table(about, start).entries.tobytes())


def verify(spec: EncoderSpec, plan: Plan) -> None:
    """Raise ModelError where this machine computes other tables than the one on which the model was shared."""
    require_equal(fingerprint(spec, plan), plan.tables)


def require_equal(here: str, there: str) -> None:
    """Raise ModelError where two fingerprints differ."""
    if here != there:
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
