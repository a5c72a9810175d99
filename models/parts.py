"""The parts that a transformer is built of: each carries its label, the names of its tensors, and its rings.

Built once from a spec and a plan. Without a plan, as while ranges are measured, parts have no rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import RELATIVE
from privinf.models.plan.rings import AttentionRings, FeedForwardRings, LayerRings, Plan
from privinf.models.plan.scales import POST, PRE, Scales
from privinf.models.spec import EncoderSpec
from privinf.protocols.masked.gates.norm import NormSpec

T = TypeVar("T")


def planned(rings: T | None) -> T:
    """The rings of a part; only models that were planned run on shares."""
    if rings is None:
        raise ValueError("this model was built without a plan")
    return rings


@dataclass(frozen=True)
class Linear:
    """x W + b; `name` is that of its folded tensors without .weight and .bias."""

    name: str
    biased: bool


@dataclass(frozen=True)
class Norm:
    """A normalisation without gain: those are folded into what follows."""

    site: str
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

    @property
    def site(self) -> str:
        """As observers name it."""
        return self.label.replace("/", ".")


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
    logits: of what follows. first: whether the first row stands for all. bits: ring of the answer before it is cut.
    """

    label: str
    norm: Norm | None = None
    pooler: FeedForward | None = None
    logits: Linear | None = None
    first: bool = False
    bits: int = 0

    @property
    def site(self) -> str:
        """Where the answer is seen before it is cut."""
        return f"{self.label}.result" if self.pooler is None and self.logits is None else f"{self.label}.out"


@dataclass(frozen=True)
class Model:
    """All of it."""

    scales: Scales
    embed_norm: Norm | None
    layers: tuple[Layer, ...]
    head: Head

    @property
    def norms(self) -> list[Norm]:
        """Every normalisation."""
        inner = [norm for layer in self.layers for norm in (layer.attention_norm, layer.ffn_norm)]
        return [norm for norm in (self.embed_norm, *inner, self.head.norm) if norm is not None]

    @property
    def feed_forwards(self) -> list[FeedForward]:
        """Every activation with what is around it."""
        parts = (*(layer.ffn for layer in self.layers), self.head.pooler)
        return [part for part in parts if part is not None]


def encoder(spec: EncoderSpec, plan: Plan | None = None) -> Model:
    """The parts of an encoder."""
    eps = spec.layer_norm_eps
    width, relative = spec.width // spec.heads, RELATIVE if spec.names.buckets else None
    form = _Form(
        spec.activation, eps, spec.heads, spec.heads, width, True, False, True, None, relative, False
    )
    norm = Norm("embed", eps, None if plan is None else plan.embed_norm)
    return Model(POST, norm, _layers(form, spec.layers, plan), _encoder_head(spec, plan))


def _encoder_head(spec: EncoderSpec, plan: Plan | None) -> Head:
    bits = 0 if plan is None else plan.result_bits
    if spec.head == "none":
        return Head("pool", first=not spec.sums, bits=bits)
    pooler, out = Linear("head.pooler", True), Linear("head.out", True)
    rings = None if plan is None else plan.pooler
    return Head("head", pooler=FeedForward("head", None, pooler, out, "tanh", rings), first=True, bits=bits)


def decoder(spec: DecoderSpec, plan: Plan | None = None) -> Model:
    """The parts of a decoder."""
    heads, biased = (spec.heads, spec.kv_heads, spec.head_width), spec.biased
    prefix = plan is not None and bool(plan.prefix)
    form = _Form(spec.activation, spec.eps, *heads, biased, spec.gated, False, rotary_of(spec), None, prefix)
    norm = Norm("head", spec.eps, None if plan is None else plan.final_norm)
    bits = 0 if plan is None else plan.result_bits
    head = Head("head", norm, logits=Linear("head.out", biased), bits=bits)
    return Model(PRE, None, _layers(form, spec.layers, plan), head)


def rotary_of(spec: DecoderSpec) -> Rotary | None:
    """How a decoder turns its heads, if positions have no table."""
    return Rotary(spec.rope_theta, spec.head_width) if spec.rope_theta else None


@dataclass(frozen=True)
class _Form:
    """What the layers of a model have in common."""

    activation: str
    eps: float
    heads: int
    kv_heads: int
    head_width: int
    biased: bool
    gated: bool
    skips: bool
    rotary: Rotary | None
    relative: str | None
    prefix: bool


def _layers(form: _Form, count: int, plan: Plan | None) -> tuple[Layer, ...]:
    return tuple(_layer(form, i, None if plan is None else plan.layers[i]) for i in range(count))


def _layer(form: _Form, i: int, rings: LayerRings | None) -> Layer:
    attn, ffn = f"layer{i}.attn", f"layer{i}.ffn"
    before, between = (rings.attention_norm, rings.ffn_norm) if rings else (None, None)
    return Layer(
        Norm(attn, form.eps, before),
        _attention(form, i, attn, rings),
        Skip(f"{attn}.skip.gain", f"{attn}.skip.mean") if form.skips else None,
        Norm(ffn, form.eps, between),
        _feed_forward(form, ffn, rings),
        Skip(f"{ffn}.skip.gain", f"{ffn}.skip.mean") if form.skips else None,
    )


def _attention(form: _Form, i: int, site: str, rings: LayerRings | None) -> Attention:
    q, k, v, out = (Linear(f"{site}.{part}", form.biased) for part in ("q", "k", "v", "out"))
    return Attention(
        _label(site),
        i,
        q,
        k,
        v,
        out,
        form.heads,
        form.kv_heads,
        form.head_width,
        form.rotary,
        form.relative,
        f"{site}.prefix" if form.prefix else None,
        None if rings is None else rings.attention,
    )


def _feed_forward(form: _Form, site: str, rings: LayerRings | None) -> FeedForward:
    gate, up, down = (Linear(f"{site}.{part}", form.biased) for part in ("gate", "up", "down"))
    inside = None if rings is None else rings.ffn
    return FeedForward(_label(site), gate if form.gated else None, up, down, form.activation, inside)


def _label(name: str) -> str:
    """As masks and costs are named."""
    return name.replace(".", "/")
