"""A fingerprint of every table that a model's gates use: dealer and parties must hold the same integers.

The entries come from a machine's mathematical library, where the last digit may differ from another's. One entry
that dealer and parties round differently would turn an answer into noise, so the owner's plan names them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from privinf.errors import ModelError
from privinf.models.engines.positions import circle
from privinf.models.engines.relative import buckets
from privinf.models.functions import FUNCTIONS
from privinf.models.parts import Model, planned
from privinf.models.plan.rings import Plan
from privinf.protocols.masked.gates import exp2, power, softmax
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.ring import U64


def fingerprint(model: Model, max_tokens: int) -> str:
    """SHA-256 over the tables of a planned model for so many tokens, in hexadecimal."""
    digest = hashlib.sha256()
    for item in _factors(model):
        digest.update(repr((item.first, item.far, item.scale, item.near.shape)).encode())
        digest.update(item.payload.tobytes())
        digest.update(item.near.tobytes())
    for about in _powers(model, max_tokens):
        for start in about.starts:
            digest.update(power.table(about, start).entries.tobytes())
    for table in _positions(model, max_tokens):
        digest.update(table.tobytes())
    return digest.hexdigest()


def verify(model: Model, plan: Plan) -> None:
    """Raise ModelError where this machine computes other tables than the one on which the model was shared."""
    if fingerprint(model, plan.max_tokens) != plan.tables:
        raise ModelError(
            "this machine's mathematical library rounds the model's tables differently from the owner's: "
            "share the model again on a machine like the servers'"
        )


def _factors(model: Model) -> Iterator[Factors]:
    names = {part.activation for part in model.feed_forwards}
    tables = dict(table for name in names for table in FUNCTIONS[name].tables(model.scales.rows))
    yield from (tables[name] for name in sorted(tables))
    for fine in _buckets(model):
        yield exp2.factors(model.scales.scores, softmax.weight_scale(fine))


def _powers(model: Model, max_tokens: int) -> Iterator[power.Power]:
    """Of all norms, and of inverse sums, which depend on the octave of a row's length alone."""
    for norm in model.norms:
        yield planned(norm.rings).power()
    for fine in _buckets(model):
        for octave in range((max_tokens - 1).bit_length() + 1):
            yield model.scales.inverse(1 << octave, fine)


def _positions(model: Model, max_tokens: int) -> Iterator[U64]:
    """What relative positions are looked up by, and what rotary ones turn by."""
    parts = [layer.attention for layer in model.layers]
    if any(part.relative for part in parts):
        yield buckets(max_tokens).astype(np.uint64)
    for rotary in dict.fromkeys(part.rotary for part in parts if part.rotary is not None):
        yield from circle(rotary, max_tokens)


def _buckets(model: Model) -> list[int]:
    return sorted({planned(layer.attention.rings).fine for layer in model.layers})
