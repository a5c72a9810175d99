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
from privinf.models.plan import AttentionPlan, RangeTable, bits_for
from privinf.protocols.gates import activation
from privinf.protocols.gates.norm import NormSpec

PLAN_VERSION = 1
ROTARY = 14  # fraction bits of cosines and sines
SCALES = (*p.SCALES, ROTARY)


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
    residual_bits: ring of the residual at scale LINEAR. embed_bits: ring of a looked-up row at scale EMBED.
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
            return DecoderPlan(
                **raw
                | {"prefix": tuple(raw["prefix"]), "scales": SCALES, "layers": layers}
                | {"final_norm": NormSpec(**raw["final_norm"])}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError("the plan file is damaged: share the model again") from error


def _layer(raw: dict[str, Any]) -> DecoderLayerPlan:
    attention = AttentionPlan(**raw.pop("attention"))
    norms = {name: NormSpec(**raw.pop(name)) for name in ("attention_norm", "ffn_norm")}
    return DecoderLayerPlan(attention=attention, **norms, **raw)


def make_decoder_plan(
    spec: DecoderSpec, ranges: RangeTable, max_tokens: int, prefix: tuple[int, ...], embedding: float
) -> DecoderPlan:
    """Plan a decoder; `embedding` is the largest magnitude in the embedding tables, which is exact."""
    high = ranges.high
    sites = [f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn")]
    residual = max(bits_for(high[f"{site}.residual"], p.LINEAR) for site in (*sites, "head"))
    hidden = max(bits_for(high[f"layer{i}.ffn.hidden"], p.X) for i in range(spec.layers))
    result = bits_for(high["head.out"], p.LINEAR)
    plan = DecoderPlan(
        version=PLAN_VERSION,
        max_tokens=max_tokens,
        prefix=prefix,
        embed_bits=math.ceil(math.log2(embedding + 1e-9)) + p.EMBED + 2,
        residual_bits=max(residual, hidden),
        layers=tuple(_plan_layer(spec, ranges, i, max_tokens) for i in range(spec.layers)),
        final_norm=_norm(spec, ranges, "head", result),
        result_bits=result,
    )
    _check(plan)
    return plan


def _plan_layer(spec: DecoderSpec, ranges: RangeTable, i: int, max_tokens: int) -> DecoderLayerPlan:
    high, attn, ffn = dict(ranges.high), f"layer{i}.attn", f"layer{i}.ffn"
    high[f"{attn}.centred"] = high[f"{attn}.residual"]
    attention = p.attention_plan(attn, high, max_tokens)
    gate = p.hidden_bits(f"{ffn}.{'gate' if spec.gated else 'up'}", high, spec.activation)
    up = bits_for(high[f"{ffn}.up"], p.X) if spec.gated else 0
    query, key = (bits_for(high[f"{attn}.{part}"], p.QK) if spec.rope_theta else 0 for part in "qk")
    widest = max(query, key) if spec.rope_theta else attention.score_bits + p.SCORE_PRODUCT - p.SCORES
    inputs = max(widest + p.QKV - p.QK, attention.narrow_bits + p.QKV - p.V)
    return DecoderLayerPlan(
        attention=attention,
        attention_norm=_norm(spec, ranges, attn, inputs),
        query_bits=query,
        key_bits=key,
        gate_bits=gate,
        up_bits=up,
        ffn_norm=_norm(spec, ranges, ffn, max(gate, up) + p.WEIGHT),
    )


def _norm(spec: DecoderSpec, ranges: RangeTable, site: str, out_bits: int) -> NormSpec:
    seen = _Renamed(
        {f"{site}.square": ranges.low[f"{site}.square"]},
        {
            f"{site}.square": ranges.high[f"{site}.square"],
            f"{site}.centred": ranges.high[f"{site}.residual"],
        },
    )
    return p.norm_spec(site, seen, p.LINEAR, out_bits, spec.width, spec.eps)


@dataclass(frozen=True)
class _Renamed:
    low: dict[str, float]
    high: dict[str, float]


def _check(plan: DecoderPlan) -> None:
    """Refuse what would fail at the first query: a ring beyond 64 bits, a power beyond its table."""
    if plan.residual_bits + p.X + activation.EXTRA > 64:
        raise ModelError("the residual's values are too large to follow an activation")
    for i, layer in enumerate(plan.layers):
        if plan.residual_bits + layer.attention.drop(plan.max_tokens) > 64:
            raise ModelError(f"layer{i}.attn: values too large for sessions of {plan.max_tokens} tokens")
        if layer.attention.score_bits + p.SCORE_PRODUCT - p.SCORES + ROTARY > 64:
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
