"""The model's operations on shares: each is laid out over gates as the plan says, for every role alike."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np

from privinf.models import plan as p
from privinf.models.embedded import Embedded
from privinf.models.encoder_inputs import SharedQuery, take_private, take_public
from privinf.models.fold import RELATIVE
from privinf.models.heads import merge_heads, merged_shape, split_heads, transpose
from privinf.models.plan import AttentionPlan, LayerPlan, Plan
from privinf.models.relative import buckets
from privinf.models.weights import scale_of
from privinf.protocols import ring
from privinf.protocols.gates import softmax
from privinf.protocols.gates.activation import activate, extra
from privinf.protocols.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.gates.norm import NormSpec, normalise
from privinf.protocols.gates.product import Lift, Product
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share, Wire, add, derive, map_share, narrow, reduce, subtract


class SharedOps:
    """Implements models.bert.Ops over an interpreter; `public` holds encoded weights where everybody knows them.

    `embedded` goes with it: the embeddings of these weights, for roles that compute with them.
    """

    def __init__(
        self,
        ctx: Interpreter,
        plan: Plan,
        public: Mapping[str, U64] | None = None,
        embedded: Embedded | None = None,
    ) -> None:
        self._ctx = ctx
        self._plan = plan
        self._public = public
        self._embedded = embedded
        self._real: Share | None = None

    def scope(self, name: str) -> AbstractContextManager[None]:
        return self._ctx.scope(name)

    def embed(self, query: SharedQuery) -> Wire:
        """Normalised embeddings of the tokens that the client's keys select."""
        norm = self._plan.embed_norm
        if self._public is not None:
            rows, real = take_public(self._ctx, norm, query, self._embedded)
        else:
            tables = self._weight("token"), self._weight("position")
            rows, real = take_private(self._ctx, norm, query, *tables)
        self.hide_padding(real)
        return rows

    def hide_padding(self, real: Share) -> None:
        """From here on, rows whose bit (batch, tokens) is 0 take no part."""
        self._real = real

    def normalise(self, x: Share) -> Wire:
        return normalise(self._ctx, x, self._norm_plan())

    def linear(self, x: Wire, name: str) -> Share:
        weight, bias = f"{name}.weight", f"{name}.bias"
        if self._public is not None:
            product = self._ctx.run(PublicMatMul(self._known(weight), scale_of(weight)), x)
            return self._ctx.add_public(product, self._known(bias))
        product = self._ctx.run(MatMul(), x, self._weight(weight))
        return add(product, self._ctx.run(ToShare(), self._weight(bias)))

    def skip(self, y: Share, x: Wire) -> Share:
        """y + x*gain - (x @ gain/width): the centred residual."""
        if self._public is not None:
            gain = self._known("skip.gain")
            share = self._ctx.run(ToShare(), x)
            scaled = Share(
                x.shape, x.bits, x.scale + p.WEIGHT, None if share.data is None else share.data * gain
            )
            mean = self._ctx.run(PublicMatMul(self._known("skip.mean"), p.WEIGHT), x)
        else:
            scaled = self._ctx.run(Product(min(x.bits, y.bits)), x, self._weight("skip.gain"))
            mean = self._ctx.run(MatMul(), x, self._weight("skip.mean"))
        return subtract(add(y, scaled), mean)

    def attend(self, q: Share, k: Share, v: Share, heads: int, relative: bool) -> Wire:
        """softmax(q k^T + mask) v with late normalisation."""
        ctx, layout = self._ctx, self._layer_plan().attention
        left, right, values = self._open_heads(q, k, v, heads, layout)
        scores = ctx.run(MatMul(), left, transpose(right))
        scores = self._padded(scores, layout)
        if relative:
            scores = self._placed(scores)
        opened = ctx.open(self._centred(scores, layout), p.SCORE_PRODUCT - p.SCORES)
        values = ctx.open(ctx.run(Lift(layout.value_bits), values))
        weight = softmax.weights(ctx, opened, layout.coarse, layout.fine, layout.value_bits)
        mixed = ctx.open(ctx.run(MatMul(), weight, values), layout.product - layout.mixed)
        inverse = softmax.inverse_sum(ctx, weight, layout.fine)
        drop = layout.drop(weight.shape[-1])
        product = ctx.run(Product(self._layer_plan().attention_norm.bits + drop), mixed, inverse)
        return ctx.open(map_share(product, merged_shape(product.shape), merge_heads), drop)

    def _padded(self, scores: Share, layout: AttentionPlan) -> Share:
        """Scores less the score of padding for rows that are real: `_centred` adds it to all."""
        assert self._real is not None
        shape = (scores.shape[0], 1, 1, scores.shape[-1])
        less = np.uint64(-_pad_score(layout))
        lifted = map_share(self._real, shape, lambda v: v.reshape(shape) * less)
        return add(scores, Share(shape, scores.bits, scores.scale, lifted.data))

    def _centred(self, scores: Share, layout: AttentionPlan) -> Share:
        offset = np.uint64(((layout.offset << p.SCORE_PRODUCT) + _pad_score(layout)) % (1 << ring.MAX_BITS))
        return self._ctx.add_public(scores, np.full(scores.shape, offset, dtype=np.uint64))

    def _placed(self, scores: Share) -> Share:
        """Scores with what relative positions add: local, as places are public."""
        places = buckets(scores.shape[-1])

        def look_up(table: U64) -> U64:
            return table[places].transpose(2, 0, 1)[None]

        if self._public is not None:
            return self._ctx.add_public(scores, look_up(self._public[RELATIVE]))
        share: Share = self._ctx.run(ToShare(), self._ctx.weight(RELATIVE))
        return add(scores, map_share(share, (1, *scores.shape[1:]), look_up))

    def answer(self, x: Share) -> Share:
        """The client's answer: cut to its scale on a fresh wire, so that its shares say nothing else."""
        finer = int(x.scale) - p.LINEAR
        opened = self._ctx.open(narrow(x, self._plan.result_bits + finer), p.LINEAR - p.RESULT + finer)
        share: Share = self._ctx.run(ToShare(), opened)
        return share

    def _open_heads(
        self, q: Share, k: Share, v: Share, heads: int, layout: AttentionPlan
    ) -> tuple[Wire, Wire, Wire]:
        score_bits = layout.score_bits + p.SCORE_PRODUCT - p.SCORES + p.QKV - p.QK
        value_bits = layout.narrow_bits + p.QKV - p.V
        split = [split_heads(x, heads) for x in (q, k, v)]
        left, right = (self._ctx.open(narrow(x, score_bits), p.QKV - p.QK) for x in split[:2])
        return left, right, self._ctx.open(narrow(split[2], value_bits), p.QKV - p.V)

    def activate(self, x: Share, name: str) -> Wire:
        """f(x) at scale X, in the ring of the linear layer that follows."""
        if self._ctx.where.startswith("head"):
            inner, outer = self._plan.head_bits, self._plan.result_bits
        else:
            inner, outer = self._layer_plan().hidden_bits, self._layer_plan().ffn_norm.bits
        opened = self._ctx.open(narrow(x, inner + p.WEIGHT), p.WEIGHT)
        known = p.SAME_ACTIVATION.get(name, name)
        return self._ctx.open(activate(self._ctx, opened, known, outer), extra(known))

    def pool(self, x: Wire, first: bool) -> Share:
        """The first row, or the sum of the real ones over a power of two, with the last gain and bias."""
        if first:
            return self._scaled(reduce(self.first(x), self._plan.result_bits), None)
        assert self._real is not None
        finer = p.sum_bits(x.shape[1])
        bits = self._plan.result_bits + finer
        real = self._ctx.open(_as_row(narrow(self._real, bits)))
        row = self._ctx.open(narrow(self._ctx.run(MatMul(), real, x), bits))
        scaled = self._scaled(row, derive([real], (x.shape[0], 1, 1), bits, 0, public=_sum, mask=_sum))
        return Share(scaled.shape, scaled.bits, p.LINEAR + finer, scaled.data)

    def _scaled(self, row: Wire, count: Wire | None) -> Share:
        """row * gain + bias, or count * bias."""
        ctx = self._ctx
        if self._public is None:
            gain, bias = self._weight("gain"), self._weight("bias")
            offset = ctx.run(ToShare(), bias) if count is None else ctx.run(Product(row.bits), count, bias)
            return add(ctx.run(Product(row.bits), row, gain), offset)
        known_gain, known_bias = self._known("gain"), self._known("bias")
        share = ctx.run(ToShare(), row)
        scaled = Share(
            row.shape, row.bits, p.LINEAR, map_share(share, row.shape, lambda v: v * known_gain).data
        )
        if count is None:
            return ctx.add_public(scaled, known_bias)
        offset = map_share(ctx.run(ToShare(), count), row.shape, lambda v: v * known_bias)
        return add(scaled, Share(row.shape, row.bits, p.LINEAR, offset.data))

    def first(self, x: Wire) -> Wire:
        return derive([x], (x.shape[0], 1, x.shape[2]), x.bits, x.scale, public=_first, mask=_first)

    def _layer(self) -> int:
        return int(self._ctx.where.split("/")[0].removeprefix("layer"))

    def _layer_plan(self) -> LayerPlan:
        return self._plan.layers[self._layer()]

    def _norm_plan(self) -> NormSpec:
        where = self._ctx.where
        if where == "embed":
            return self._plan.embed_norm
        return self._layer_plan().attention_norm if where.endswith("attn") else self._layer_plan().ffn_norm

    def _name(self, name: str) -> str:
        return ".".join((*self._ctx.where.split("/"), name))

    def _weight(self, name: str) -> Wire:
        return self._ctx.weight(self._name(name))

    def _known(self, name: str) -> U64:
        assert self._public is not None
        return self._public[self._name(name)]


def _pad_score(layout: AttentionPlan) -> int:
    """The score of padding in units, which is negative."""
    return round(layout.pad_score * (1 << p.SCORE_PRODUCT))


def _as_row(bits: Share) -> Share:
    shape = (bits.shape[0], 1, bits.shape[1])
    return map_share(bits, shape, lambda v: v.reshape(shape))


def _sum(v: U64) -> U64:
    total: U64 = v.sum(axis=-1, keepdims=True, dtype=np.uint64)
    return total


def _first(v: U64) -> U64:
    return v[:, :1]
