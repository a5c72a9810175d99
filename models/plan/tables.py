"""A fingerprint of every table that a model's gates use: dealer and parties must hold the same integers.

The entries come from a machine's mathematical library, where the last digit may differ from another's. One entry
that dealer and parties round differently would turn an answer into noise, so the owner's plan names them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from privinf.errors import ModelError
from privinf.models.attention import Parts, parts_of, variant_of
from privinf.models.engines.positions import circle
from privinf.models.engines.relative import buckets
from privinf.models.functions import FUNCTIONS
from privinf.models.parts import Model, planned
from privinf.models.plan.rings import Plan


def fingerprint(model: Model, max_tokens: int) -> str:
    """SHA-256 over the tables of a planned model for so many tokens, in hexadecimal."""
    digest, tables = hashlib.sha256(), dict(_named(model, max_tokens))
    for name in sorted(tables):
        digest.update(name.encode())
        for part in tables[name]:
            digest.update(part)
    return digest.hexdigest()


def verify(model: Model, plan: Plan) -> None:
    """Raise ModelError where this machine computes other tables than the one on which the model was shared."""
    try:
        found = fingerprint(model, plan.max_tokens)
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise ModelError("the plan file is damaged: share the model again") from error
    if found != plan.tables:
        raise ModelError(
            "this machine's mathematical library rounds the model's tables differently from the owner's: "
            "share the model again on a machine like the servers'"
        )


def _named(model: Model, max_tokens: int) -> Iterator[tuple[str, Parts]]:
    """Every table by a name under which equal ones are one; powers are told by their names alone."""
    for part in model.feed_forwards:
        for name, factors in FUNCTIONS[part.activation].tables(model.scales.rows):
            yield f"function {name}", parts_of(factors)
    for layer in model.layers:
        attention = layer.attention
        yield from variant_of(attention.variant).tables(attention, model.scales, max_tokens)
        if attention.relative is not None:
            yield "relative", [buckets(max_tokens).astype(np.uint64).tobytes()]
        if attention.rotary is not None:
            yield repr(attention.rotary), [part.tobytes() for part in circle(attention.rotary, max_tokens)]
    for norm in model.norms:
        yield repr(planned(norm.rings).power()), []
