"""The wire plan: rings and scales of an encoder's wires, from ranges calibrated on real text, with headroom."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from privinf.errors import ModelError
from privinf.models.spec import EncoderSpec
from privinf.protocols.gates import activation, exp2, power, softmax
from privinf.protocols.gates.norm import NormSpec

PLAN_VERSION = 5
HEADROOM = 3  # bits kept free above every calibrated range
KNOWN = 1  # the same where the range is that of a whole table, and rounding alone can pass it

# Fraction bits. A product's scale is the sum of its factors'; what exceeds the target is dropped on opening.
X, WEIGHT, QKV_WEIGHT, QK, V, SCORES, EMBED = 12, 14, 14, 11, 10, 10, 16
LINEAR = X + WEIGHT
QKV = X + QKV_WEIGHT
SCORE_PRODUCT = 2 * QK
MIXED = 10  # of values mixed by the smallest sum of weights that a row may have
SAME_ACTIVATION = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
RESULT = 14  # an answer is cut to this: its exact products would give weights away
INVERSE_GAIN = 10  # significant bits of a row's inverse deviation at the largest calibrated variance
MAX_FRACTION = 16  # of a centred row before it is normalised: finer would not fit the sum of squares
BUCKET_BITS = 7  # of the histogram that finds a row's largest score: its keys grow with 2^BUCKET_BITS
FINEST = (2, 1, 0)  # log2 of the last pass's buckets, in score units: the first that fits

SCALES = (X, WEIGHT, QKV_WEIGHT, QK, V, SCORES, EMBED, MIXED, RESULT)


Part = TypeVar("Part")


class RangeTable(Protocol):
    """Calibrated magnitudes by site, in real units."""

    @property
    def low(self) -> Mapping[str, float]: ...
    @property
    def high(self) -> Mapping[str, float]: ...


def whole(kind: type[Part], raw: dict[str, Any]) -> Part:
    """A part of a plan with each of its fields, also those that have a default; KeyError otherwise."""
    if set(raw) != {field.name for field in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        raise KeyError(kind.__name__)
    return kind(**raw)


@dataclass(frozen=True)
class AttentionScales:
    """Fraction bits of values, of their mixture at the smallest sum of weights, and of what attention gives.

    precision: index bits with which the inverse sum of weights is looked up.
    """

    values: int = V
    mixed: int = MIXED
    out: int = X
    precision: int = softmax.INVERSE_PRECISION

    def inverse(self, row: int, fine: int) -> power.Power:
        """The inverse sum of a row of weights."""
        return softmax.inverse_power(row, fine, self.precision)


@dataclass(frozen=True)
class AttentionPlan:
    """One attention's rings.

    score_bits: of a score; offset: what is added to centre its range; coarse, fine: log2 of the buckets in which
    the largest is looked for; pad_score: the additive score of padding. narrow_bits: of a value as it is first
    opened; value_bits: of weights, of values to be mixed, and of their product.
    """

    score_bits: int
    offset: int
    coarse: int
    fine: int
    pad_score: float
    narrow_bits: int
    value_bits: int
    scales: AttentionScales = AttentionScales()

    @staticmethod
    def from_json(raw: dict[str, Any]) -> AttentionPlan:
        return whole(AttentionPlan, raw | {"scales": whole(AttentionScales, raw["scales"])})

    @property
    def mixed(self) -> int:
        """Fraction bits of mixed values before they are divided by their row's sum."""
        return self.scales.mixed + softmax.slack(self.fine)

    @property
    def product(self) -> int:
        """Fraction bits of weights times values."""
        return softmax.weight_scale(self.fine) + self.scales.values

    def drop(self, tokens: int) -> int:
        """Bits dropped from the attended values, which carry the scale of the inverse row sum."""
        return self.mixed + self.scales.inverse(tokens, self.fine).scale - self.scales.out


@dataclass(frozen=True)
class LayerPlan:
    """One encoder layer."""

    attention: AttentionPlan
    attention_norm: NormSpec
    hidden_bits: int
    ffn_norm: NormSpec


@dataclass(frozen=True)
class Plan:
    """Everything the roles must agree on beside the architecture; every role checks its hash.

    `scales` are the fraction bits above, and `tables` is the fingerprint of all tables as the owner's machine
    computed them (models/tables.py).
    """

    version: int
    max_tokens: int  # the longest length bucket that was calibrated
    embed_norm: NormSpec
    layers: tuple[LayerPlan, ...]
    head_bits: int
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
    def from_json(text: str) -> Plan:
        """Raise ModelError where the text is no plan of this version."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["version"] != PLAN_VERSION:
                raise ModelError(
                    f"plan version {raw['version']} is not {PLAN_VERSION}: share the model again"
                )
            layers = tuple(
                LayerPlan(
                    AttentionPlan.from_json(layer["attention"]),
                    whole(NormSpec, layer["attention_norm"]),
                    layer["hidden_bits"],
                    whole(NormSpec, layer["ffn_norm"]),
                )
                for layer in raw["layers"]
            )
            norm = whole(NormSpec, raw["embed_norm"])
            if tuple(raw["scales"]) != SCALES:
                raise ModelError("the plan was made for other scales: share the model again")
            rest = (raw["head_bits"], raw["result_bits"], SCALES, raw["tables"])
            return Plan(PLAN_VERSION, raw["max_tokens"], norm, layers, *rest)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError("the plan file is damaged: share the model again") from error


def bits_for(magnitude: float, scale: int, headroom: int = HEADROOM) -> int:
    """Ring of a value at `scale` with headroom, its sign, and the bit that lifting needs."""
    return math.ceil(math.log2(max(magnitude, 2.0**-scale))) + headroom + scale + 2


def sum_bits(tokens: int) -> int:
    """Bits by which the sum of so many rows may be longer than each of them."""
    return (tokens - 1).bit_length()


def make_plan(spec: EncoderSpec, ranges: RangeTable, max_tokens: int) -> Plan:
    """Plan an encoder for texts of up to `max_tokens`; ModelError names the site whose range fits no ring."""
    high = ranges.high
    attention = [
        attention_plan(f"layer{i}.attn", high, max_tokens, bits_for(high[f"layer{i}.attn.residual"], LINEAR))
        for i in range(spec.layers)
    ]
    hidden = [hidden_bits(f"layer{i}.ffn.up", high, spec.activation) for i in range(spec.layers)]
    if spec.head == "none":
        head, result = 0, bits_for(high["pool.result"], LINEAR)
    else:
        head, result = hidden_bits("head.pooler", high, "tanh"), bits_for(high["head.out"], LINEAR)
    last = result + sum_bits(max_tokens) if spec.sums else max(result, head + WEIGHT)

    def into_attention(i: int) -> int:
        """Ring that a layer's input must have."""
        a = attention[i]
        residual = bits_for(high[f"layer{i}.attn.residual"], LINEAR)
        return max(a.score_bits + SCORE_PRODUCT - SCORES + QKV - QK, a.narrow_bits + QKV - V, residual)

    def norm(site: str, scale: int, out_bits: int, headroom: int = HEADROOM) -> NormSpec:
        return norm_spec(site, ranges, scale, out_bits, spec.width, spec.layer_norm_eps, headroom=headroom)

    layers = []
    for i in range(spec.layers):
        site = f"layer{i}"
        middle = max(hidden[i] + WEIGHT, bits_for(high[f"{site}.ffn.residual"], LINEAR))
        after = into_attention(i + 1) if i + 1 < spec.layers else last
        layers.append(
            LayerPlan(
                attention[i],
                norm(f"{site}.attn", LINEAR, middle),
                hidden[i],
                norm(f"{site}.ffn", LINEAR, after),
            )
        )
    plan = Plan(
        PLAN_VERSION, max_tokens, norm("embed", EMBED, into_attention(0), KNOWN), tuple(layers), head, result
    )
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    """Refuse what would fail at the first query: a ring beyond 64 bits, a power beyond its table."""
    for i, layer in enumerate(plan.layers):
        if layer.attention_norm.bits + layer.attention.drop(plan.max_tokens) > 64:
            raise ModelError(f"layer{i}.attn: values too large for texts of {plan.max_tokens} tokens")
        if layer.ffn_norm.bits + activation.EXTRA > 64:
            raise ModelError(f"layer{i}.ffn: values too large to follow an activation")
    if plan.head_bits and plan.result_bits + activation.EXTRA > 64:
        raise ModelError("head: values too large to follow an activation")
    if (last := plan.layers[-1].ffn_norm.out_bits) > 64:
        raise ModelError(f"pool: values too large for a sum of {plan.max_tokens} rows in {last} bits")
    norms = [norm for layer in plan.layers for norm in (layer.attention_norm, layer.ffn_norm)]
    for norm in (plan.embed_norm, *norms):
        try:
            norm.power()
        except ValueError as error:
            raise ModelError("the rows' deviations leave every table of inverse roots") from error
        if norm.product_bits > 64:
            raise ModelError("a normalisation needs more than 64 bits")


def attention_plan(
    site: str,
    high: Mapping[str, float],
    max_tokens: int,
    outer: int,
    scales: AttentionScales = AttentionScales(),
) -> AttentionPlan:
    """The rings of one attention over up to `max_tokens` keys, which feeds a linear layer of `outer` bits."""
    # Rounded up to a quarter of an octave: the plan is public and need not name the largest score exactly.
    scores = 2.0 ** (math.ceil(4 * math.log2(max(high[f"{site}.scores"], 1.0))) / 4 + HEADROOM)
    narrow = bits_for(high[f"{site}.v"], scales.values)
    for fine in FINEST:
        scale = softmax.weight_scale(fine)
        inverse = scales.inverse(max_tokens, fine)
        # A row of weights, each at most one, times values: at most max_tokens times the normalised result.
        mixed = bits_for(high[f"{site}.attended"] * max_tokens, scale + scales.values)
        value_bits = max(mixed, narrow, inverse.high + 2)
        attended = outer + scales.mixed + softmax.slack(fine) + inverse.scale - scales.out
        if max(value_bits + exp2.dropped(scale), attended) <= 64:
            break
    else:
        raise ModelError(f"{site}: values too large for texts of {max_tokens} tokens")
    # Weights this far below a row's largest vanish: padding lies lower than any real score by as much.
    vanish = exp2.BLOCK * exp2.blocks(scale)
    half = 2 * scores + vanish / 2
    try:
        coarse, units = _buckets(half, fine)
    except ModelError as error:
        raise ModelError(f"{site}: {error}") from None
    offset = math.ceil(scores + vanish / 2)
    pad = -(2 * scores + vanish)
    return AttentionPlan(units + SCORES, offset, coarse, fine, pad, narrow, value_bits, scales)


def _buckets(half: float, fine: int) -> tuple[int, int]:
    """log2 of the coarse buckets and of the range, in score units, for centred scores up to `half`.

    One pass where that takes at most 2^BUCKET_BITS buckets, otherwise two with the fewest zero tests together.
    """
    least = math.ceil(math.log2(2 * exp2.BLOCK * exp2.blocks(softmax.weight_scale(fine))))

    def units(coarse: int) -> int:
        # The bucket above the largest, and the last block of the exponential, must not wrap around.
        return max(math.ceil(math.log2(2 * half + 2 * 2**coarse + exp2.BLOCK + 2)), least)

    def tests(coarse: int) -> int:
        return (1 << (units(coarse) - coarse)) + (2 << (coarse - fine))

    fitting = [c for c in range(fine, fine + BUCKET_BITS + 3) if units(c) - c <= BUCKET_BITS]
    if not fitting:
        raise ModelError(f"attention scores up to {half / 2:.0f} leave every ring")
    best = fine if fitting[0] == fine else min(fitting, key=tests)
    return best, units(best)


def hidden_bits(site: str, high: Mapping[str, float], name: str) -> int:
    """The ring of an activation's input, at scale X."""
    known = SAME_ACTIVATION.get(name, name)
    try:
        return activation.input_bits(known, high[site] * 2**HEADROOM, X)
    except ValueError as error:
        raise ModelError(f"{site}: {error}") from None


def norm_spec(
    site: str,
    ranges: RangeTable,
    scale: int,
    out_bits: int,
    width: int,
    eps: float,
    gain: int = INVERSE_GAIN,
    precision: int = power.PRECISION,
    headroom: int = HEADROOM,
) -> NormSpec:
    """How the rows at a site are normalised, of `width` values at `scale`.

    gain: significant bits of the inverse deviation at the largest variance; precision: those of its table's index.
    headroom: bits that are kept free above the ranges.
    """
    smallest, largest = ranges.low[f"{site}.square"], ranges.high[f"{site}.square"]
    if not smallest > 0:
        raise ModelError(f"{site}: a row of zeros cannot be normalised")
    inverse_scale = 64 + X - out_bits
    deviation = math.ceil(math.log2(largest) / 2)
    room = 60 - math.ceil(math.log2(width)) - math.ceil(math.log2(largest)) - 2 * headroom
    fraction = min(inverse_scale - gain - deviation, scale, MAX_FRACTION, room // 2)
    if math.log2(smallest) / 2 + fraction < 6:
        raise ModelError(f"{site}: rows' deviations span too wide a range to be normalised in 64 bits")
    return NormSpec(
        width=width,
        bits=bits_for(ranges.high[f"{site}.residual"], scale, headroom),
        drop=scale - fraction,
        scale=fraction,
        low=math.floor(math.log2(smallest)) - 2 * headroom,
        high=math.ceil(math.log2(largest)) + 2 * headroom,
        eps=eps,
        inverse_scale=min(inverse_scale, fraction + gain + deviation),
        out_scale=X,
        out_bits=out_bits,
        precision=precision,
    )
