"""The wire plan: rings and scales of a model's wires, which every role must agree on; a stable text with a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from privinf.errors import ModelError
from privinf.models.plan.scales import Scales
from privinf.protocols.masked.gates import softmax
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.masked.gates.power import INVERSE, Power

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PLAN_VERSION = 11
LEAST = 2  # log2 of the smallest sum that is inverted, in units of weights
DIGITS = 10  # significant bits of an inverse sum at its smallest

Part = TypeVar("Part", bound="DataclassInstance")


@dataclass(frozen=True)
class PlainRings:
    """What heads without exponentials have besides; `variant` is theirs.

    scores: fraction bits of scores as they are opened; score_bits: their ring. bits: the ring of weights and of what
    they mix; weights: fraction bits of weights. high: log2 of a row's largest sum of them, and eps what is added to it,
    both as they lie in the ring; mixed: fraction bits of mixed values before they are divided by that: all three are 0
    where nothing is divided. pairs: whether keys meet values first, so that there are no scores, but queries and keys
    in the larger ring.
    """

    variant: str
    scores: int
    score_bits: int
    bits: int
    weights: int
    high: int = 0
    eps: int = 0
    mixed: int = 0
    pairs: bool = False

    def inverse(self) -> Power:
        """1 / (sum + eps) of a row's weights, DIGITS significant bits at its smallest."""
        scale, one = DIGITS + self.high - self.weights, 1 << self.weights
        return Power(-1.0, max(self.eps.bit_length() - 1, LEAST), self.high, scale, one, self.eps, INVERSE)

    def drop(self, scales: Scales) -> int:
        """Bits dropped from the attended values, which carry the scale of the inverse sum."""
        return self.mixed + self.inverse().scale - scales.outer


@dataclass(frozen=True)
class AttentionRings:
    """One attention's rings.

    score_bits: of a score; offset: what is added to centre its range; coarse, fine: log2 of the buckets in which
    the largest is looked for; pad_score: the additive score of padding. narrow_bits: of a value as it is first
    opened; value_bits: of weights, of values to be mixed, and of their product. query_bits, key_bits: of queries and
    keys as they are first opened. outer: of the linear layer that follows. digits: significant bits of a row's inverse
    sum of weights at its smallest. plain: of the variants without exponentials; where all heads are of such, nothing
    of softmax counts.
    """

    score_bits: int
    offset: int
    coarse: int
    fine: int
    pad_score: float
    narrow_bits: int
    value_bits: int
    query_bits: int
    key_bits: int
    outer: int
    digits: int
    plain: tuple[PlainRings, ...] = ()

    def of(self, variant: str) -> PlainRings:
        """Those of a variant's heads."""
        return next(rings for rings in self.plain if rings.variant == variant)

    @property
    def lifted_bits(self) -> int:
        """Ring of values for the weights of all variants."""
        return max(self.value_bits, *(own.bits for own in self.plain), self.narrow_bits)

    def widest(self, scales: Scales) -> int:
        """Of scores before they are cut."""
        return self.score_bits + scales.product - scales.scores

    def inputs(self, scales: Scales) -> int:
        """Ring that the rows before must have."""
        scores = max(self.query_bits, self.key_bits) + scales.linear - scales.qk
        return max(scores, self.narrow_bits + scales.linear - scales.values)

    def mixed(self, scales: Scales) -> int:
        """Fraction bits of mixed values before they are divided by their row's sum."""
        return scales.mixed + softmax.slack(self.fine)

    def product(self, scales: Scales) -> int:
        """Fraction bits of weights times values."""
        return softmax.weight_scale(self.fine) + scales.values

    def drop(self, scales: Scales, tokens: int) -> int:
        """Bits dropped from the attended values, which carry the scale of the inverse row sum."""
        return self.mixed(scales) + self.inverse(tokens).scale - scales.outer

    def inverse(self, row: int) -> Power:
        """The inverse sum of a row of weights."""
        return softmax.inverse_power(row, self.fine, self.digits)


@dataclass(frozen=True)
class FeedForwardRings:
    """inner: of what goes into the activation, at the scale of rows; up: of what it is multiplied with, if gated.

    outer: of the linear layer that follows.
    """

    inner: int
    up: int
    outer: int


@dataclass(frozen=True)
class LayerRings:
    """One layer's."""

    attention_norm: NormSpec
    attention: AttentionRings
    ffn_norm: NormSpec
    ffn: FeedForwardRings


@dataclass(frozen=True)
class Plan:
    """Everything the roles must agree on beside the architecture; every role checks its hash.

    max_tokens: of a text, or of a whole session, prefix and rejected drafts included. prefix: tokens of the public
    prefix. cache: the policy of a session's cache, a name in models/cache. spec: digest of the specification that it
    was made for. embed_norm: of looked-up rows, where they are normalised; embed_bits: their ring, where they are not.
    residual_bits: ring of a residual that is a sum. pixel_bits: of pixels as they are opened. final_norm: before the
    head, where rows are not normalised by then. pooler: of a classifier. tables: the fingerprint of all tables as the
    owner's machine computed them.
    """

    scales: Scales
    max_tokens: int
    layers: tuple[LayerRings, ...]
    result_bits: int
    embed_norm: NormSpec | None = None
    embed_bits: int = 0
    residual_bits: int = 0
    pixel_bits: int = 0
    final_norm: NormSpec | None = None
    pooler: FeedForwardRings | None = None
    prefix: tuple[int, ...] = ()
    cache: str = "full"
    spec: str = ""
    tables: str = ""
    version: int = PLAN_VERSION

    @property
    def widest_scores(self) -> int:
        """Bits of the largest ring of scores before they are cut: a bit is lifted once for all layers."""
        return max(
            (layer.attention.widest(self.scales) for layer in self.layers), default=self.scales.product
        )

    @property
    def answer_bits(self) -> int:
        """Ring of an answer as the client has it, cut to its scale."""
        return self.result_bits - (self.scales.linear - self.scales.result)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str, scales: Scales) -> Plan:
        """Raise ModelError where the text is no plan of this version, with these scales."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["version"] != PLAN_VERSION:
                found = raw["version"]
                raise ModelError(f"plan version {found} is not {PLAN_VERSION}: share the model again")
            if raw["scales"] != dataclasses.asdict(scales):
                raise ModelError("the plan was made for other scales: share the model again")
            made: dict[str, Any] = {
                name: _optional(NormSpec, raw[name]) for name in ("embed_norm", "final_norm")
            }
            made |= {"pooler": _optional(FeedForwardRings, raw["pooler"]), "scales": scales}
            made |= {"layers": tuple(map(_layer, raw["layers"])), "prefix": tuple(raw["prefix"])}
            return _whole(Plan, raw | made)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError("the plan file is damaged: share the model again") from error


def _layer(raw: dict[str, Any]) -> LayerRings:
    kinds: dict[str, type[Any]] = {"attention_norm": NormSpec, "ffn_norm": NormSpec, "ffn": FeedForwardRings}
    made: dict[str, Any] = {name: _whole(kind, raw[name]) for name, kind in kinds.items()}
    plain = tuple(_whole(PlainRings, rings) for rings in raw["attention"]["plain"])
    made["attention"] = _whole(AttentionRings, raw["attention"] | {"plain": plain})
    return _whole(LayerRings, raw | made)


def _optional(kind: type[Part], raw: dict[str, Any] | None) -> Part | None:
    return None if raw is None else _whole(kind, raw)


def _whole(kind: type[Part], raw: dict[str, Any]) -> Part:
    """A part of a plan with each of its fields, also those that have a default; KeyError otherwise."""
    if set(raw) != {field.name for field in dataclasses.fields(kind)}:
        raise KeyError(kind.__name__)
    for name, wanted in get_type_hints(kind).items():
        if wanted in (int, str) and type(raw[name]) is not wanted:
            raise TypeError(name)
    return kind(**raw)
