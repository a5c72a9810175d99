"""The parts that a transformer is built of: each carries its label, the names of its tensors, and its rings.

Built once from a spec and a plan. Without a plan, as while ranges are measured, parts have no rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from privinf.models import decoder_plan as d
from privinf.models import plan as p
from privinf.models.decoder_plan import DecoderPlan
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import RELATIVE
from privinf.models.plan import AttentionPlan, Plan
from privinf.models.spec import EncoderSpec
from privinf.protocols.gates.norm import NormSpec

T = TypeVar("T")


def planned(rings: T | None) -> T:
    """The rings of a part; only models that were planned run on shares."""
    if rings is None:
        raise ValueError("this model was built without a plan")
    return rings


@dataclass(frozen=True)
class Scales:
    """Fraction bits by what a value is.

    rows: normalised; linear: what linear layers make of them; outer: what goes into the layers that write to the
    residual. gate, up: an activated gate, and what it is multiplied with.
    """

    rows: int
    weight: int
    linear: int
    qk: int
    values: int
    scores: int
    outer: int
    gate: int
    up: int
    result: int

    @property
    def product(self) -> int:
        """Of queries times keys."""
        return 2 * self.qk


ENCODER = Scales(p.X, p.WEIGHT, p.LINEAR, p.QK, p.V, p.SCORES, p.X, 0, 0, p.RESULT)
DECODER = Scales(
    p.X, d.WEIGHT, d.LINEAR, d.QK, d.VALUES, p.SCORES, d.OUT, gate=d.ACTIVE, up=d.UP, result=p.RESULT
)


@dataclass(frozen=True)
class Linear:
    """x W + b; `name` is that of its folded tensors without .weight and .bias."""

    name: str
    biased: bool


@dataclass(frozen=True)
class Norm:
    """A normalisation without gain: those are folded into what follows."""

    eps: float
    rings: NormSpec | None


@dataclass(frozen=True)
class Skip:
    """A residual that is a normalised row, whose gain comes back here."""

    gain: str
    mean: str


@dataclass(frozen=True)
class Rotary:
    """Positions by turning the values of a head, `width` of them, against each other."""

    theta: float
    width: int


@dataclass(frozen=True)
class AttentionRings:
    """What the plan says of an attention; outer: the ring of the linear layer that follows."""

    plan: AttentionPlan
    query_bits: int
    key_bits: int
    outer: int


@dataclass(frozen=True)
class Attention:
    """index: its place in the cache. relative: the table of what relative positions add.

    prefix: names of the public prefix's keys and values, without .k and .v.
    """

    label: str
    index: int
    q: Linear
    k: Linear
    v: Linear
    out: Linear
    heads: int
    kv_heads: int
    head_width: int
    rotary: Rotary | None
    relative: str | None
    prefix: str | None
    rings: AttentionRings | None


@dataclass(frozen=True)
class FeedForwardRings:
    """inner: of what goes into the activation at the scale of rows; up: of what it is multiplied with.

    outer: of the linear layer that follows.
    """

    inner: int
    up: int
    outer: int


@dataclass(frozen=True)
class FeedForward:
    """Two linear layers and what is between them; `gate` where one of three is activated and multiplied."""

    label: str
    gate: Linear | None
    up: Linear
    down: Linear
    activation: str
    rings: FeedForwardRings | None


@dataclass(frozen=True)
class Layer:
    """A block; its order says where norms stand, and whether rows come back by a skip."""

    attention_norm: Norm
    attention: Attention
    attention_skip: Skip | None
    ffn_norm: Norm
    ffn: FeedForward
    ffn_skip: Skip | None


@dataclass(frozen=True)
class Head:
    """What follows the last layer.

    norm: before it, where rows are not normalised already. pooler: of a classifier, whose `down` gives logits.
    logits: of what follows. first: whether the first row stands for all; sums: bits by which a sum of rows may be
    longer than each. bits: ring of the answer before it is cut.
    """

    label: str
    norm: Norm | None = None
    pooler: FeedForward | None = None
    logits: Linear | None = None
    first: bool = False
    bits: int = 0


@dataclass(frozen=True)
class Model:
    """All of it."""

    scales: Scales
    embed_norm: Norm | None
    layers: tuple[Layer, ...]
    head: Head


def encoder(spec: EncoderSpec, plan: Plan | None = None) -> Model:
    """The parts of an encoder."""
    eps, norm = spec.layer_norm_eps, None if plan is None else plan.embed_norm
    layers = tuple(_encoder_layer(spec, plan, i) for i in range(spec.layers))
    return Model(ENCODER, Norm(eps, norm), layers, _encoder_head(spec, plan))


def _encoder_layer(spec: EncoderSpec, plan: Plan | None, i: int) -> Layer:
    rings = None if plan is None else plan.layers[i]
    attn, ffn, eps = f"layer{i}.attn", f"layer{i}.ffn", spec.layer_norm_eps
    q, k, v, out = (Linear(f"{attn}.{part}", True) for part in ("q", "k", "v", "out"))
    up, down = Linear(f"{ffn}.up", True), Linear(f"{ffn}.down", True)
    heads, width, score = spec.heads, spec.width // spec.heads, 0
    relative = RELATIVE if spec.names.buckets else None
    inside: AttentionRings | None = None
    between: FeedForwardRings | None = None
    if rings is not None:
        score = rings.attention.score_bits + ENCODER.product - ENCODER.scores
        inside = AttentionRings(rings.attention, score, score, rings.attention_norm.bits)
        between = FeedForwardRings(rings.hidden_bits, 0, rings.ffn_norm.bits)
    return Layer(
        Norm(eps, None if rings is None else rings.attention_norm),
        Attention(_label(attn), i, q, k, v, out, heads, heads, width, None, relative, None, inside),
        Skip(f"{attn}.skip.gain", f"{attn}.skip.mean"),
        Norm(eps, None if rings is None else rings.ffn_norm),
        FeedForward(_label(ffn), None, up, down, spec.activation, between),
        Skip(f"{ffn}.skip.gain", f"{ffn}.skip.mean"),
    )


def _encoder_head(spec: EncoderSpec, plan: Plan | None) -> Head:
    bits = 0 if plan is None else plan.result_bits
    if spec.head == "none":
        return Head("pool", first=not spec.sums, bits=bits)
    rings = None if plan is None else FeedForwardRings(plan.head_bits, 0, plan.result_bits)
    pooler, out = Linear("head.pooler", True), Linear("head.out", True)
    return Head("head", pooler=FeedForward("head", None, pooler, out, "tanh", rings), first=True, bits=bits)


def decoder(spec: DecoderSpec, plan: DecoderPlan | None = None) -> Model:
    """The parts of a decoder."""
    layers = tuple(_decoder_layer(spec, plan, i) for i in range(spec.layers))
    norm = Norm(spec.eps, None if plan is None else plan.final_norm)
    bits = 0 if plan is None else plan.result_bits
    return Model(DECODER, None, layers, Head("head", norm, logits=Linear("head.out", spec.biased), bits=bits))


def rotary_of(spec: DecoderSpec) -> Rotary | None:
    """How a decoder turns its heads, if positions have no table."""
    return Rotary(spec.rope_theta, spec.head_width) if spec.rope_theta else None


def _decoder_layer(spec: DecoderSpec, plan: DecoderPlan | None, i: int) -> Layer:
    attn, ffn, biased = f"layer{i}.attn", f"layer{i}.ffn", spec.biased
    q, k, v, out = (Linear(f"{attn}.{part}", biased) for part in ("q", "k", "v", "out"))
    gate, up, down = (Linear(f"{ffn}.{part}", biased) for part in ("gate", "up", "down"))
    rotary = rotary_of(spec)
    prefix = f"{attn}.prefix" if plan is not None and plan.prefix else None
    heads = spec.heads, spec.kv_heads, spec.head_width
    rings = None if plan is None else plan.layers[i]
    inside: AttentionRings | None = None
    between: FeedForwardRings | None = None
    if plan is not None and rings is not None:
        outer = plan.residual_bits
        score = rings.attention.score_bits + DECODER.product - DECODER.scores
        first, second = (rings.query_bits, rings.key_bits) if rotary else (score, score)
        inside = AttentionRings(rings.attention, first, second, outer)
        between = FeedForwardRings(rings.gate_bits, rings.up_bits, outer)
    return Layer(
        Norm(spec.eps, None if rings is None else rings.attention_norm),
        Attention(_label(attn), i, q, k, v, out, *heads, rotary, None, prefix, inside),
        None,
        Norm(spec.eps, None if rings is None else rings.ffn_norm),
        FeedForward(_label(ffn), gate if spec.gated else None, up, down, spec.activation, between),
        None,
    )


def _label(name: str) -> str:
    """As masks and costs are named."""
    return name.replace(".", "/")
