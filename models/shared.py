"""The model's operations on shares: each is laid out over gates as the plan says, for every role alike."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from privinf.models import plan as p
from privinf.models.fold import RELATIVE
from privinf.models.heads import merge_heads, merged_shape, split_heads, transpose
from privinf.models.plan import AttentionPlan, LayerPlan, Plan
from privinf.models.relative import buckets
from privinf.models.weights import scale_of
from privinf.protocols.gates import softmax
from privinf.protocols.gates.activation import activate, extra
from privinf.protocols.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.gates.norm import NormSpec, normalise
from privinf.protocols.gates.product import Lift, Product
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share, Wire, add, derive, map_share, narrow, subtract


@dataclass
class SharedQuery:
    """A query's shares: rows (batch, tokens, vocab one-hot or width), pool (batch, 1, tokens).

    `masks` holds a mask (batch, 1, 1, tokens) for each layer, as layers differ in the score that padding needs.
    """

    rows: Share
    masks: tuple[Share, ...]
    pool: Share | None


class SharedOps:
    """Implements models.bert.Ops over an interpreter; `public` holds encoded weights where everybody knows them."""

    def __init__(self, ctx: Interpreter, plan: Plan, public: Mapping[str, U64] | None = None) -> None:
        self._ctx = ctx
        self._plan = plan
        self._public = public

    def scope(self, name: str) -> AbstractContextManager[None]:
        return self._ctx.scope(name)

    def embed(self, query: SharedQuery) -> Wire:
        """Normalised embeddings: looked up with an opened one-hot, or as the client shares them."""
        if self._public is not None:
            return self._ctx.open(query.rows)
        onehot = self._ctx.open(query.rows)
        rows = self._ctx.run(MatMul(), onehot, self._weight("token"))
        places = self._ctx.run(ToShare(), _rows(self._weight("position"), query.rows.shape[1]))
        return self.normalise(add(rows, places))

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

    def attend(self, q: Share, k: Share, v: Share, query: SharedQuery, heads: int, relative: bool) -> Wire:
        """softmax(q k^T + mask) v with late normalisation."""
        ctx, layout = self._ctx, self._layer_plan().attention
        left, right, values = self._open_heads(q, k, v, heads, layout)
        scores = ctx.run(MatMul(), left, transpose(right))
        scores = add(scores, query.masks[self._layer()])
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

    def _centred(self, scores: Share, layout: AttentionPlan) -> Share:
        offset = np.uint64(layout.offset << p.SCORE_PRODUCT)
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
        bits, drop = self._plan.result_bits, p.LINEAR - p.RESULT
        share: Share = self._ctx.run(ToShare(), self._ctx.open(narrow(x, bits), drop))
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

    def pool(self, x: Wire, query: SharedQuery) -> Share:
        """The weighted mean of the rows, with the last gain and bias: the client's answer."""
        assert query.pool is not None
        pooled = self._ctx.run(MatMul(), self._ctx.open(query.pool), x)
        row = self._ctx.open(narrow(pooled, self._plan.result_bits + p.WEIGHT), p.WEIGHT)
        if self._public is not None:
            share = self._ctx.run(ToShare(), row)
            gain = self._known("gain")
            scaled = Share(row.shape, row.bits, p.LINEAR, None if share.data is None else share.data * gain)
            return self._ctx.add_public(scaled, self._known("bias"))
        scaled = self._ctx.run(Product(row.bits), row, self._weight("gain"))
        return add(scaled, self._ctx.run(ToShare(), self._weight("bias")))

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


def _rows(table: Wire, count: int) -> Wire:
    def cut(v: U64) -> U64:
        return v[:count]

    return derive([table], (count, *table.shape[1:]), table.bits, table.scale, public=cut, mask=cut)


def _first(v: U64) -> U64:
    return v[:, :1]
