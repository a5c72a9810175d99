"""The decoder's operations on shares, for one pass: laid out over gates as the plan says, for every role alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from privinf.models import decoder_plan as d
from privinf.models import plan as p
from privinf.models.cache import Cache
from privinf.models.decoder_inputs import Inputs, Taken
from privinf.models.decoder_plan import ROTARY, SCORE_PRODUCT, DecoderLayerPlan, DecoderPlan
from privinf.models.decoder_public import PRIVATE, Public
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.decoder_step import DecoderQuery, Step
from privinf.models.heads import merge_heads, merged_shape, reshape, split_heads, transpose
from privinf.models.rotary import turns
from privinf.models.turning import beside, fixed, half, pick, rotate
from privinf.protocols import ring
from privinf.protocols.gates import softmax
from privinf.protocols.gates.activation import activate, extra
from privinf.protocols.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.gates.norm import NormSpec, normalise
from privinf.protocols.gates.product import Lift, Product
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share, Wire, add, map_share, narrow, reduce, subtract

SCORE = SCORE_PRODUCT - p.SCORES  # bits that a score has beyond its wire until it is opened


class SharedDecoder:
    """Implements models.decoder.DecoderOps over an interpreter; `public` holds the weights that all know."""

    def __init__(
        self,
        ctx: Interpreter,
        spec: DecoderSpec,
        plan: DecoderPlan,
        step: Step,
        cache: Cache,
        finish: Callable[[Interpreter, DecoderPlan, Share], Share],
        public: Public = PRIVATE,
    ) -> None:
        self._ctx, self._spec, self._plan = ctx, spec, plan
        self._step, self._cache, self._finish, self._public = step, cache, finish, public
        self._taken: Taken | None = None

    def scope(self, name: str) -> AbstractContextManager[None]:
        return self._ctx.scope(name)

    def embed(self, query: DecoderQuery) -> Share:
        """The residual, looked up."""
        taken = Inputs(self._ctx, self._spec, self._plan, self._step, self._public).take(query)
        self._taken = replace(taken, pads=self._padding(taken.pads))
        if taken.rejected is not None:
            self._cache.reject(taken.rejected)
        return taken.rows

    @property
    def _query(self) -> Taken:
        assert self._taken is not None, "a pass begins with its query"
        return self._taken

    def _padding(self, pads: Share | None) -> Share | None:
        """Of all slots there are from this pass on."""
        if pads is None or not self._step.first:
            return pads
        prefix = len(self._plan.prefix)
        zeros = (*pads.shape[:-1], prefix)
        return map_share(
            pads,
            (*pads.shape[:-1], prefix + pads.shape[-1]),
            lambda v: np.concatenate((np.zeros(zeros, dtype=np.uint64), v), axis=-1),
        )

    def settle(self) -> None:
        """End the pass."""
        own = self._step.rows + (len(self._plan.prefix) if self._step.first else 0)
        self._cache.settle(own, self._query.pads)

    def normalise(self, x: Share) -> Wire:
        return normalise(self._ctx, x, self._norm_plan())

    def linear(self, x: Wire, name: str) -> Share:
        weight, bias = f"{name}.weight", f"{name}.bias"
        biased = self._spec.biased
        product: Share
        if self._public.weights:
            product = self._ctx.run(PublicMatMul(self._known(weight), d.decoder_scale(weight)), x)
            if not biased:
                return product
            up = np.uint64(1 << int(product.scale - d.decoder_scale(self._name(bias))))
            return self._ctx.add_public(product, self._known(bias) * up)
        product = self._ctx.run(MatMul(), x, self._weight(weight))
        return add(product, self._raised(bias, product.scale)) if biased else product

    def _raised(self, bias: str, scale: float) -> Share:
        """A bias at the scale of what it is added to."""
        share: Share = self._ctx.run(ToShare(), self._weight(bias))
        up = np.uint64(1 << int(scale - share.scale))
        return Share(share.shape, share.bits, scale, None if share.data is None else share.data * up)

    def add(self, x: Share, y: Share) -> Share:
        return add(x, y)

    def attend(self, q: Share, k: Share, v: Share) -> Wire:
        """softmax(q k^T + mask) v with late normalisation, over all slots of the cache."""
        ctx, spec, layout = self._ctx, self._spec, self._layer_plan().attention
        left, right, values = self._open_heads(q, k, v)
        keys, mixed_in = self._extended(right, values)
        groups, slots = spec.kv_heads, keys.shape[2]
        left = reshape(left, (1, groups, spec.heads // groups * self._step.rows, spec.head_width))
        scores = ctx.run(MatMul(), left, transpose(keys))
        shape = (1, spec.heads, self._step.rows, slots)
        scores = self._masked(map_share(scores, shape, lambda x: x.reshape(shape)), slots)
        opened = ctx.open(self._centred(scores), SCORE)
        weight = softmax.weights(ctx, opened, layout.coarse, layout.fine, layout.value_bits)
        ctx.touch(weight)
        ctx.mask_share(weight)
        grouped = reshape(weight, (1, groups, left.shape[2], slots))
        product = ctx.run(MatMul(), grouped, mixed_in)
        shape = (1, spec.heads, self._step.rows, spec.head_width)
        mixed = ctx.open(map_share(product, shape, lambda x: x.reshape(shape)), layout.product - layout.mixed)
        inverse = softmax.inverse_sum(ctx, weight, layout.fine, layout.scales.precision)
        drop = layout.drop(slots)
        scaled = ctx.run(Product(self._plan.residual_bits + drop), mixed, inverse)
        return ctx.open(map_share(scaled, merged_shape(scaled.shape), merge_heads), drop)

    def _open_heads(self, q: Share, k: Share, v: Share) -> tuple[Wire, Wire, Wire]:
        """Queries and keys in the ring of scores, values in that of their mixture."""
        ctx, spec, layer = self._ctx, self._spec, self._layer_plan()
        queries, keys = split_heads(q, spec.heads), split_heads(k, spec.kv_heads)
        values = narrow(split_heads(v, spec.kv_heads), layer.attention.narrow_bits + d.LINEAR - d.VALUES)
        drop = d.LINEAR - d.QK
        first, second = (layer.query_bits, layer.key_bits) if spec.rope_theta else (self._score_ring,) * 2
        left, right = (
            ctx.open(narrow(x, bits + drop), drop) for x, bits in ((queries, first), (keys, second))
        )
        opened = ctx.open(values, d.LINEAR - d.VALUES)
        if spec.rope_theta:
            left, right = self._turned(left), self._turned(right)
        return left, right, ctx.open(ctx.run(Lift(layer.attention.value_bits), opened))

    @property
    def _score_ring(self) -> int:
        return self._layer_plan().attention.score_bits + SCORE

    def _turned(self, x: Wire) -> Wire:
        """Queries or keys turned by their rows' positions, in the ring of scores."""
        if self._query.advanced is not None:
            return self._ctx.open(self._product_turned(x, self._query.advanced), ROTARY)
        share: Share = self._ctx.run(Lift(self._score_ring + ROTARY), x)
        cos, sin = turns(self._step.places, self._spec.head_width, self._spec.rope_theta)
        turned = map_share(share, share.shape, lambda v: rotate(v, fixed(cos), fixed(sin)))
        return self._ctx.open(Share(turned.shape, turned.bits, turned.scale + ROTARY, turned.data), ROTARY)

    def _extended(self, right: Wire, values: Wire) -> tuple[Wire, Wire]:
        prefix = self._prefix() if self._step.first and self._plan.prefix else None
        self._ctx.touch(right)
        self._ctx.mask_share(right)
        if prefix:
            self._ctx.mask_share(prefix[0])
        keys, mixed_in = ([prefix[0], right], [prefix[1], values]) if prefix else ([right], [values])
        return self._cache.extend(self._layer(), keys, mixed_in)

    def _prefix(self) -> tuple[Wire, Wire]:
        """The prefix's keys, moved to where the prompt begins, and its values."""
        ctx, layout = self._ctx, self._layer_plan().attention
        keys, values = self._static("prefix.k"), reduce(self._static("prefix.v"), layout.value_bits)
        if self._query.moved is None:
            return reduce(keys, self._score_ring), values
        return ctx.open(self._product_turned(keys, self._query.moved), ROTARY), values

    def _product_turned(self, x: Wire, by: Wire) -> Share:
        """Queries or keys turned by angles whose cosines and sines are masked too."""
        whole = Product(self._score_ring + ROTARY)
        turn = [pick(by, i) for i in (0, 1)]
        (a, b), (c, e) = ([self._ctx.run(whole, end, t) for t in turn] for end in (half(x, 0), half(x, 1)))
        return beside(subtract(a, e), add(c, b))

    def _masked(self, scores: Share, slots: int) -> Share:
        """Scores with what hides padding, rows to come and slots that are out: one of them, never two together.

        A row always sees itself: one of padding, with no prefix before it, would else see all that it must not.
        """
        rows = self._step.rows
        hidden = np.broadcast_to(self._step.hidden, (rows, slots))
        own = np.eye(rows, slots, slots - rows, dtype=bool)
        lower = np.uint64(int(ring.encode(self._layer_plan().attention.pad_score, SCORE_PRODUCT)))
        pads = self._cache.with_pads(self._step.rows, self._query.pads)
        if pads is not None:
            factor = np.where(hidden | own, np.uint64(0), lower)[None, None]
            shape = (1, 1, *hidden.shape)
            padded = map_share(pads, shape, lambda v: v * factor)
            scores = add(scores, Share(shape, scores.bits, scores.scale, padded.data))
        public = np.where(hidden, lower, np.uint64(0))
        return self._ctx.add_public(scores, np.broadcast_to(public, scores.shape))

    def _centred(self, scores: Share) -> Share:
        offset = np.uint64(self._layer_plan().attention.offset << SCORE_PRODUCT)
        return self._ctx.add_public(scores, np.full(scores.shape, offset, dtype=np.uint64))

    def activate(self, x: Share, name: str) -> Wire:
        """f(x) at scale OUT, in the ring of the residual."""
        opened = self._ctx.open(narrow(x, self._layer_plan().gate_bits + d.WEIGHT), d.WEIGHT)
        return self._active(opened, name, d.OUT, self._plan.residual_bits)

    def gate(self, x: Share, y: Share, name: str) -> Wire:
        """f(x) y at scale OUT, in the ring of the residual."""
        ctx, layer = self._ctx, self._layer_plan()
        inner = ctx.open(narrow(x, layer.gate_bits + d.WEIGHT), d.WEIGHT)
        factor = ctx.open(narrow(y, layer.up_bits + d.LINEAR - d.UP), d.LINEAR - d.UP)
        # One bit more than the input has, as it is lifted: a value stays below a quarter of its ring.
        active = self._active(inner, name, d.ACTIVE, layer.gate_bits + 1 + d.ACTIVE - p.X)
        drop = d.ACTIVE + d.UP - d.OUT
        return ctx.open(ctx.run(Product(self._plan.residual_bits + drop), active, factor), drop)

    def _active(self, x: Wire, name: str, scale: int, bits: int) -> Wire:
        """f(x) at a scale, in a ring of so many bits."""
        known = p.SAME_ACTIVATION.get(name, name)
        drop = p.X + extra(known) - scale
        share = activate(self._ctx, x, known, bits + max(drop, 0) - extra(known))
        if drop >= 0:
            return self._ctx.open(share, drop)
        up = np.uint64(1 << -drop)
        data = None if share.data is None else share.data * up
        return self._ctx.open(Share(share.shape, bits, scale, data))

    def last(self, x: Share, rows: int) -> Share:
        return map_share(x, (1, rows, x.shape[2]), lambda v: v[:, v.shape[1] - rows :])

    def answer(self, x: Share) -> Share:
        return self._finish(self._ctx, self._plan, x)

    def _layer(self) -> int:
        return int(self._ctx.where.split("/")[0].removeprefix("layer"))

    def _layer_plan(self) -> DecoderLayerPlan:
        return self._plan.layers[self._layer()]

    def _norm_plan(self) -> NormSpec:
        where = self._ctx.where
        if where == "head":
            return self._plan.final_norm
        return self._layer_plan().attention_norm if where.endswith("attn") else self._layer_plan().ffn_norm

    def _name(self, name: str) -> str:
        return ".".join((*self._ctx.where.split("/"), name))

    def _weight(self, name: str) -> Wire:
        return self._ctx.weight(self._name(name))

    def _known(self, name: str) -> U64:
        return self._public.weights[self._name(name)]

    def _static(self, name: str) -> Wire:
        """A static tensor as a wire, of mask zero where everybody knows it."""
        if not self._public.weights:
            return self._weight(name)
        value = self._known(name)
        zero = np.zeros(value.shape, dtype=np.uint64)
        return Wire(
            value.shape,
            ring.MAX_BITS,
            d.decoder_scale(self._name(name)),
            source=value,
            mask=zero,
            mask_share=zero,
        )
