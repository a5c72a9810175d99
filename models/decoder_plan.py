"""The wire plan of a decoder: rings of all wires, from ranges calibrated on real text after the public prefix."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from privinf.errors import ModelError
from privinf.models import plan as p
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.plan import AttentionPlan, AttentionScales, RangeTable, bits_for
from privinf.protocols import ring
from privinf.protocols.gates import activation
from privinf.protocols.gates.norm import NormSpec

PLAN_VERSION = 2

# Fraction bits. Normalised rows have those of encoders; what is added to the residual is finer, as is what is
# multiplied with it: a decoder's rows are not normalised again after each sum.
ROTARY = 14  # of cosines and sines
QK = 12  # of queries and keys
SCORE_PRODUCT = 2 * QK
VALUES = 12
EMBED = p.EMBED  # of the embedding tables
WEIGHT = 16
LINEAR = p.X + WEIGHT  # of what linear layers make of normalised rows
OUT = 16  # of what goes into the linear layers that write to the residual
RESIDUAL = OUT + WEIGHT
UP = 14  # of what an activated gate is multiplied with
ACTIVE = 16  # of an activated gate
# Significant bits of a norm's inverse deviation, and index bits of its table: an error of the last norm scales all
# logits of a row alike, so that one is finer.
GAIN, PRECISION, FINAL_PRECISION = 12, 9, 12
EMBED_BITS = 32  # of the largest ring that a row of embeddings is looked up in
ATTENTION = AttentionScales(values=VALUES, mixed=11, out=OUT, precision=11)
SCALES = (*p.SCALES, ROTARY, QK, VALUES, WEIGHT, OUT, UP, ACTIVE)


def decoder_scale(name: str) -> int:
    """Fraction bits of a decoder's folded tensor, by its name."""
    if name.startswith("embed."):
        return EMBED
    if name.endswith((".prefix.k", ".prefix.v")):
        return QK if name.endswith("k") else VALUES
    return LINEAR if name.endswith(".bias") else WEIGHT


@dataclass(frozen=True)
class DecoderLayerPlan:
    """One layer's rings.

    query_bits, key_bits: of queries and keys as they are first opened, where positions turn them afterwards.
    gate_bits, up_bits: of what goes into the activation, and of what is multiplied with it.
    """

    attention: AttentionPlan
    attention_norm: NormSpec
    query_bits: int
    key_bits: int
    gate_bits: int
    up_bits: int
    ffn_norm: NormSpec


@dataclass(frozen=True)
class DecoderPlan:
    """Everything the roles must agree on beside the architecture; every role checks its hash.

    max_tokens: of a whole session, prefix and rejected drafts included. prefix: tokens of the public prefix.
    residual_bits: ring of the residual at scale RESIDUAL. embed_bits: ring of a looked-up row at scale EMBED.
    """

    version: int
    max_tokens: int
    prefix: tuple[int, ...]
    embed_bits: int
    residual_bits: int
    layers: tuple[DecoderLayerPlan, ...]
    final_norm: NormSpec
    result_bits: int
    scales: tuple[int, ...] = SCALES
    tables: str = ""

    @property
    def widest_scores(self) -> int:
        """Bits of the largest ring of attention scores before they are cut: a bit is lifted once for all layers."""
        rings = (layer.attention.score_bits for layer in self.layers)
        return max(rings, default=0) + SCORE_PRODUCT - p.SCORES

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str) -> DecoderPlan:
        """Raise ModelError where the text is no plan of this version."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["version"] != PLAN_VERSION or tuple(raw["scales"]) != SCALES:
                raise ModelError("the plan was made by another version: share the model again")
            layers = tuple(_layer(layer) for layer in raw["layers"])
            parts = {"prefix": tuple(raw["prefix"]), "scales": SCALES, "layers": layers}
            return p.whole(DecoderPlan, raw | parts | {"final_norm": p.whole(NormSpec, raw["final_norm"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError("the plan file is damaged: share the model again") from error


def _layer(raw: dict[str, Any]) -> DecoderLayerPlan:
    attention = AttentionPlan.from_json(raw.pop("attention"))
    before, middle = p.whole(NormSpec, raw.pop("attention_norm")), p.whole(NormSpec, raw.pop("ffn_norm"))
    return p.whole(
        DecoderLayerPlan, raw | {"attention": attention, "attention_norm": before, "ffn_norm": middle}
    )


def make_decoder_plan(
    spec: DecoderSpec, ranges: RangeTable, max_tokens: int, prefix: tuple[int, ...], embedding: float
) -> DecoderPlan:
    """Plan a decoder; `embedding` is the largest magnitude in the embedding tables, which is exact."""
    high = ranges.high
    outer = _residual_bits(spec, ranges)
    result = bits_for(high["head.out"], LINEAR)
    plan = DecoderPlan(
        version=PLAN_VERSION,
        max_tokens=max_tokens,
        prefix=prefix,
        embed_bits=math.ceil(math.log2(embedding + 1e-9)) + EMBED + 2,
        residual_bits=outer,
        layers=tuple(_plan_layer(spec, ranges, i, max_tokens, outer) for i in range(spec.layers)),
        final_norm=_norm(spec, ranges, "head", result, FINAL_PRECISION),
        result_bits=result,
    )
    _check(plan)
    return plan


def _residual_bits(spec: DecoderSpec, ranges: RangeTable) -> int:
    """The ring of the residual and of all that is added to it."""
    sites = [f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn")]
    bits = {f"{site}.residual": RESIDUAL for site in (*sites, "head")}
    bits |= {f"layer{i}.ffn.hidden": OUT for i in range(spec.layers)}
    needed = {site: bits_for(ranges.high[site], scale) for site, scale in bits.items()}
    widest = max(needed, key=lambda site: needed[site])
    beyond = ACTIVE + UP - OUT if spec.gated else p.X + activation.EXTRA - OUT
    if needed[widest] + beyond > ring.MAX_BITS:
        raise ModelError(f"{widest}: values too large for a residual of 64 bits")
    return needed[widest]


def _plan_layer(
    spec: DecoderSpec, ranges: RangeTable, i: int, max_tokens: int, outer: int
) -> DecoderLayerPlan:
    high, attn, ffn = ranges.high, f"layer{i}.attn", f"layer{i}.ffn"
    attention = p.attention_plan(attn, high, max_tokens, outer, ATTENTION)
    gate = p.hidden_bits(f"{ffn}.{'gate' if spec.gated else 'up'}", high, spec.activation)
    up = bits_for(high[f"{ffn}.up"], UP) if spec.gated else 0
    query, key = (bits_for(high[f"{attn}.{part}"], QK) if spec.rope_theta else 0 for part in "qk")
    widest = max(query, key) if spec.rope_theta else attention.score_bits + SCORE_PRODUCT - p.SCORES
    inputs = max(widest + LINEAR - QK, attention.narrow_bits + LINEAR - VALUES)
    return DecoderLayerPlan(
        attention=attention,
        attention_norm=_norm(spec, ranges, attn, inputs),
        query_bits=query,
        key_bits=key,
        gate_bits=gate,
        up_bits=up,
        ffn_norm=_norm(spec, ranges, ffn, max(gate + WEIGHT, up + LINEAR - UP)),
    )


def _norm(
    spec: DecoderSpec, ranges: RangeTable, site: str, out_bits: int, precision: int = PRECISION
) -> NormSpec:
    return p.norm_spec(site, ranges, RESIDUAL, out_bits, spec.width, spec.eps, GAIN, precision)


def _check(plan: DecoderPlan) -> None:
    """Refuse what would fail at the first query: a ring beyond 64 bits, a power beyond its table."""
    if plan.embed_bits > EMBED_BITS:
        raise ModelError("embeddings too large to be looked up")
    for i, layer in enumerate(plan.layers):
        if plan.residual_bits + layer.attention.drop(plan.max_tokens) > ring.MAX_BITS:
            raise ModelError(f"layer{i}.attn: values too large for sessions of {plan.max_tokens} tokens")
        if layer.attention.score_bits + SCORE_PRODUCT - p.SCORES + ROTARY > ring.MAX_BITS:
            raise ModelError(f"layer{i}.attn: scores too large for rotary positions")
    for norm in (plan.final_norm, *(n for x in plan.layers for n in (x.attention_norm, x.ffn_norm))):
        try:
            norm.power()
        except ValueError as error:
            raise ModelError("the rows' deviations leave every table of inverse roots") from error
        if norm.product_bits > 64:
            raise ModelError("a normalisation needs more than 64 bits")


def largest(*tables: np.typing.NDArray[Any]) -> float:
    """The largest magnitude in some tables."""
    return max(float(np.abs(table).max()) for table in tables)
