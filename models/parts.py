"""The parts that a transformer is built of: each carries its label, the names of its tensors, and its rings.

Built once from a spec and a plan. Without a plan, as while ranges are measured, parts have no rings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from privinf.errors import ModelError
from privinf.models.orders import ORDERS
from privinf.models.plan.rings import AttentionRings, FeedForwardRings, LayerRings, Plan
from privinf.models.plan.scales import PATCH, RELATIVE, Scales
from privinf.models.spec import BlockSpec, Classifier, ModelSpec, Patches, Rotary
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.ring import Shape

T = TypeVar("T")
FRONT = ("embed.class", "embed.distilled")  # rows before those of patches
LINEAR = {"gate": "up", "up": "up", "down": "down"}  # of a feed-forward part, and which bias each has
# Which biases of the file reach a folded layer: its own, and that of a LayerNorm before it.
OWN = {"qkv": "qkv", "out": "out", "up": "ffn", "down": "ffn", "head": "head"}
SKIPPED = {"out": "attn", "down": "ffn"}  # layers that add to the residual, and the part that each ends


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

    def shapes(self, rows: int, columns: int) -> Iterator[tuple[str, Shape]]:
        """Of its tensors."""
        yield f"{self.name}.weight", (rows, columns)
        if self.biased:
            yield f"{self.name}.bias", (columns,)


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
class Attention:
    """index: its place in the cache. variant, cache: names in models/attention, of all heads or one for each, and in
    models/cache.

    relative: the table of what relative positions add. prefix: names of the public prefix's keys and values, without
    .k and .v.
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
    variant: str | tuple[str, ...]
    cache: str
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
    """Two linear layers and what is between them; `gate` where one of three is activated and multiplied.

    straight: rows with nothing between them, which `fused` takes all the way; rows: how many there are.
    """

    label: str
    gate: Linear | None
    up: Linear
    down: Linear
    activation: str
    rings: FeedForwardRings | None
    straight: tuple[int, ...] = ()
    fused: Linear | None = None
    rows: int = 0

    @property
    def bends(self) -> bool:
        """Whether any row is activated."""
        return not self.straight or len(self.straight) < self.rows


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
    logits: of what follows, or of classes; also: the same of a second row, to be added. first: how many first rows
    stand for all, if any does. bits: ring of the answer before it is cut.
    """

    label: str
    norm: Norm | None = None
    pooler: FeedForward | None = None
    logits: Linear | None = None
    also: Linear | None = None
    first: int = 0
    bits: int = 0

    @property
    def site(self) -> str:
        """Where the answer is seen before it is cut."""
        return f"{self.label}.result" if self.pooler is None and self.logits is None else f"{self.label}.out"


@dataclass(frozen=True)
class Model:
    """All of it."""

    spec: ModelSpec
    planned_scales: Scales | None
    embed_norm: Norm | None
    layers: tuple[Layer, ...]
    head: Head
    prefix: int

    @property
    def scales(self) -> Scales:
        """Of the plan."""
        return planned(self.planned_scales)

    @property
    def norms(self) -> list[Norm]:
        """Every normalisation, in the order in which rows meet them."""
        inner = [norm for layer in self.layers for norm in (layer.attention_norm, layer.ffn_norm)]
        return [norm for norm in (self.embed_norm, *inner, self.head.norm) if norm is not None]

    @property
    def feed_forwards(self) -> list[FeedForward]:
        """Every activation with what is around it."""
        parts = (*(layer.ffn for layer in self.layers), self.head.pooler)
        return [part for part in parts if part is not None]

    def shapes(self) -> dict[str, Shape]:
        """Of all folded tensors: the one list of them."""
        spec, out = self.spec, dict[str, Shape]()
        out |= dict(_input_shapes(spec))
        if spec.buckets:
            out[RELATIVE] = (spec.buckets, spec.heads)
        for layer in self.layers:
            out |= dict(_layer_shapes(layer, spec, self.prefix))
        return out | dict(_head_shapes(self.head, spec))


def _input_shapes(spec: ModelSpec) -> Iterator[tuple[str, Shape]]:
    inputs = spec.inputs
    if isinstance(inputs, Patches):
        yield PATCH, (inputs.values, spec.width)
        yield "embed.position", (inputs.count, spec.width)
        yield from ((name, (1, spec.width)) for name in FRONT[: inputs.front])
        return
    yield "embed.token", (spec.vocab, spec.width)
    if inputs.places:
        yield "embed.position", (spec.max_tokens, spec.width)


def _layer_shapes(layer: Layer, spec: ModelSpec, prefix: int) -> Iterator[tuple[str, Shape]]:
    part, ffn = layer.attention, layer.ffn
    inner, shared = part.heads * part.head_width, part.kv_heads * part.head_width
    for linear, columns in ((part.q, inner), (part.k, shared), (part.v, shared)):
        yield from linear.shapes(spec.width, columns)
    yield from part.out.shapes(inner, spec.width)
    for into in (ffn.gate, ffn.up):
        if into is not None and ffn.bends:
            yield from into.shapes(spec.width, spec.ffn)
    if ffn.bends:
        yield from ffn.down.shapes(spec.ffn, spec.width)
    if ffn.fused is not None:
        yield from ffn.fused.shapes(spec.width, spec.width)
    for skip in (layer.attention_skip, layer.ffn_skip):
        if skip is not None:
            yield from ((skip.gain, (spec.width,)), (skip.mean, (spec.width, 1)))
    if part.prefix is not None:
        kept = (1, part.kv_heads, prefix, part.head_width)
        yield from ((f"{part.prefix}.k", kept), (f"{part.prefix}.v", kept))


def _head_shapes(head: Head, spec: ModelSpec) -> Iterator[tuple[str, Shape]]:
    if head.logits is not None:
        for linear in (head.logits, head.also):
            if linear is not None:
                yield from linear.shapes(spec.width, len(spec.labels) or spec.vocab)
    elif head.pooler is not None:
        yield from head.pooler.up.shapes(spec.width, spec.width)
        yield from head.pooler.down.shapes(spec.width, len(spec.labels))
    else:
        yield from ((f"{head.label}.{name}", (spec.width,)) for name in ("gain", "bias"))


def build(spec: ModelSpec, plan: Plan | None = None, cache: str = "full") -> Model:
    """The parts of a model; ModelError for one that has none. A plan names the cache's policy itself."""
    if (
        spec.buckets and spec.order == "pre"
    ):  # fewer queries than rows are the first ones to these, the last ones there
        raise ModelError("relative positions are computed where norms stand behind alone")
    _require_fixed(spec)
    prefix = len(plan.prefix) if plan is not None else 0
    policy = cache if plan is None else plan.cache
    rings = plan.layers if plan is not None else [None] * spec.layers
    layers = tuple(_layer(spec, i, made, policy, prefix > 0) for i, made in enumerate(rings))
    norm = Norm("embed", spec.eps, None if plan is None else plan.embed_norm) if spec.embed_norm else None
    scales = None if plan is None else plan.scales
    return Model(spec, scales, norm, layers, _head(spec, plan), prefix)


def _require_fixed(spec: ModelSpec) -> None:
    """Refuse attention over rows of one known number in models of texts, whose rows are padded, or come one by one."""
    from privinf.models.attention import variant_of

    for named in {block.attention for block in spec.blocks}:
        if variant_of(named).fixed and not isinstance(spec.inputs, Patches):
            raise ModelError(
                f"{named} attention is for models of images: the rows of a text are no fixed number"
            )


def _head(spec: ModelSpec, plan: Plan | None) -> Head:
    bits = 0 if plan is None else plan.result_bits
    if spec.task == "embed":
        return Head("pool", first=0 if spec.sums else 1, bits=bits)
    last = ORDERS[spec.order].last
    norm = Norm("head", spec.eps, None if plan is None else plan.final_norm) if last else None
    out = Linear("head.out", biased(spec, "head"))
    if not isinstance(spec.head, Classifier):
        return Head("head", norm, logits=out, bits=bits)
    if (dense := spec.head.dense) is None:
        also = Linear("head.distilled.out", biased(spec, "head")) if spec.head.averaged > 1 else None
        return Head("head", norm, logits=out, also=also, first=spec.head.averaged, bits=bits)
    up = Linear("head.pooler", biased(spec, "head"))
    pooler = FeedForward("head", None, up, out, dense, None if plan is None else plan.pooler)
    return Head("head", norm, pooler=pooler, first=1, bits=bits)


def _layer(spec: ModelSpec, i: int, rings: LayerRings | None, cache: str, prefix: bool) -> Layer:
    skips = ORDERS[spec.order].skips
    attn, ffn = f"layer{i}.attn", f"layer{i}.ffn"
    before, between = (rings.attention_norm, rings.ffn_norm) if rings else (None, None)
    return Layer(
        Norm(attn, spec.eps, before),
        _attention(spec, i, attn, rings, cache, prefix),
        Skip(f"{attn}.skip.gain", f"{attn}.skip.mean") if "attn" in skips else None,
        Norm(ffn, spec.eps, between),
        _feed_forward(spec, spec.blocks[i], ffn, rings),
        Skip(f"{ffn}.skip.gain", f"{ffn}.skip.mean") if "ffn" in skips else None,
    )


def _attention(
    spec: ModelSpec, i: int, site: str, rings: LayerRings | None, cache: str, prefix: bool
) -> Attention:
    q, k, v = (Linear(f"{site}.{part}", biased(spec, "qkv")) for part in "qkv")
    return Attention(
        label=_label(site),
        index=i,
        q=q,
        k=k,
        v=v,
        out=Linear(f"{site}.out", biased(spec, "out")),
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        head_width=spec.head_width,
        variant=spec.blocks[i].attention,
        cache=cache,
        rotary=spec.blocks[i].rotary,
        relative=RELATIVE if spec.buckets else None,
        prefix=f"{site}.prefix" if prefix else None,
        rings=None if rings is None else rings.attention,
    )


def _feed_forward(spec: ModelSpec, block: BlockSpec, site: str, rings: LayerRings | None) -> FeedForward:
    gate, up, down = (Linear(f"{site}.{part}", biased(spec, kind)) for part, kind in LINEAR.items())
    inside = None if rings is None else rings.ffn
    made = FeedForward(_label(site), gate if block.gated else None, up, down, block.activation, inside)
    if not block.straight:
        return made
    return replace(made, straight=block.straight, fused=Linear(f"{site}.fused", True), rows=spec.max_tokens)


def biased(spec: ModelSpec, part: str) -> bool:
    """Whether a folded linear layer has a bias: qkv, out, up, down or head.

    A LayerNorm's goes into the layer behind it, and, where the residual is its rows, into what is added to them.
    """
    takes = part not in SKIPPED or SKIPPED[part] in ORDERS[spec.order].skips
    return OWN[part] in spec.biases or ("norm" in spec.biases and takes)


def _label(name: str) -> str:
    """As masks and costs are named."""
    return name.replace(".", "/")
