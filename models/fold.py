"""Rewrites a checkpoint for computing on shares: gains and centring folded into weights, scores in base two.

Every normalisation then divides only; with n the normalised row, g and b its gain and bias, C = I - 1/D:
  the next linear layer           (n*g + b) W + c          = n (diag(g) W) + (b W + c)
  a residual of normalised rows   centre(y + n*g + b)      = y C + n*g - n (g/D) + centre(b)
LayerNorm ignores a row's mean, so what is added to the residual is centred beforehand: no mean of a row is computed on
shares beyond one dot product with g/D. It is written for arrays and for tensors, whose gradients go through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from privinf.models.attention import variant_of
from privinf.models.parts import FRONT, Attention, FeedForward, Head, Layer, Linear, Norm, Skip, build
from privinf.models.plan.scales import PATCH
from privinf.models.spec import ModelSpec, Patches

if TYPE_CHECKING:
    import torch

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
A = TypeVar("A", F64, "torch.Tensor")
LOG2_E = float(1.0 / np.log(2.0))


def fold(spec: ModelSpec, weights: Mapping[str, F32]) -> dict[str, F64]:
    """The weights that models/parts.py names, in float64; mathematically the same function."""
    return _Fold(spec, {name: array.astype(np.float64) for name, array in weights.items()}).run()


def fold_tensors(spec: ModelSpec, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same of tensors, in their own type."""
    return _Fold(spec, weights).run()


class _Fold(Generic[A]):
    def __init__(self, spec: ModelSpec, weights: Mapping[str, A]) -> None:
        self._spec, self._model = spec, build(spec)
        self._w: Mapping[str, A] = weights
        self._out: dict[str, A] = {}

    def run(self) -> dict[str, A]:
        """Norms stand in the order in which rows meet them: each goes into the layers before the next."""
        norms = iter(self._model.norms)
        self._embeddings()
        for layer in self._model.layers:
            self._attention(layer, next(norms))
            self._feed_forward(layer.ffn, layer.ffn_skip, next(norms))
        self._head(self._model.head, next(norms))
        return self._out

    def _embeddings(self) -> None:
        w, out, inputs = self._w, self._out, self._spec.inputs
        if isinstance(inputs, Patches):
            self._patches(inputs)
        else:
            out["embed.token"] = self._centred(w["embed.token"])
            if inputs.places:
                places = w["embed.position"][inputs.places - self._spec.max_tokens :]
                out["embed.position"] = self._centred(places + w["embed.type"][0] if inputs.types else places)
        for part in {layer.attention.relative for layer in self._model.layers} - {None}:
            out[str(part)] = w["relative"] * LOG2_E

    def _patches(self, inputs: Patches) -> None:
        """The bias of patches goes into their positions, and a row before them has its own."""
        w, front = self._w, inputs.front
        self._out[PATCH] = self._centred(w[PATCH])
        self._out["embed.position"] = self._centred(w["embed.position"][front:] + w["embed.patch.bias"])
        for i, name in enumerate(FRONT[:front]):
            self._out[name] = self._centred(w["embed.position"][i : i + 1] + w[name])

    def _attention(self, layer: Layer, norm: Norm) -> None:
        part = layer.attention
        for projection in (part.q, part.k, part.v):
            self._after(projection, norm)
        for name in (f"{part.q.name}.weight", f"{part.q.name}.bias"):
            if name in self._out:
                self._out[name] = _each(self._out[name], self._factors(part))
        self._into_residual(part.out, layer.attention_skip, norm)

    def _factors(self, part: Attention) -> list[float]:
        """Of every column of queries, by the variant of its head."""
        named = self._spec.blocks[part.index].variants(part.heads)
        each = [variant_of(name).factor(self._spec.max_tokens) for name in named]
        scale = LOG2_E / float(np.sqrt(part.head_width))
        return [scale * factor for factor in each for _ in range(part.head_width)]

    def _feed_forward(self, part: FeedForward, skip: Skip | None, norm: Norm) -> None:
        for linear in (part.gate, part.up):
            if linear is not None:
                self._after(linear, norm)
        self._into_residual(part.down, skip, norm)
        if part.fused is not None:
            self._fuse(part, part.fused)

    def _fuse(self, part: FeedForward, fused: Linear) -> None:
        """Two linear layers with nothing between them, as one; where no row bends, they are not kept."""
        out, (up, down) = self._out, (part.up.name, part.down.name)
        inner, last = out.get(f"{up}.bias"), out[f"{down}.weight"]
        bias = None if inner is None else inner @ last
        weight = out[f"{up}.weight"] @ last
        self._put(fused, weight, bias if (outer := out.get(f"{down}.bias")) is None else _sum(outer, bias))
        if not part.bends:
            for name in (f"{up}.weight", f"{up}.bias", f"{down}.weight", f"{down}.bias"):
                out.pop(name, None)

    def _head(self, head: Head, norm: Norm) -> None:
        if head.logits is not None:
            self._after(head.logits, norm, "head")
            if head.also is not None:
                self._after(head.also, norm, "head.distilled")
                self._halve(head.logits, head.also)
        elif head.pooler is not None:
            self._after(head.pooler.up, norm, "pooler")
            self._put(head.pooler.down, self._w["head.weight"], self._w["head.bias"])
        else:
            gain, bias = self._norm(norm)
            self._out[f"{head.label}.gain"] = gain
            self._out[f"{head.label}.bias"] = 0 * gain if bias is None else bias

    def _halve(self, *parts: Linear) -> None:
        """Two layers whose answers are averaged."""
        for name in (f"{part.name}.{kind}" for part in parts for kind in ("weight", "bias")):
            self._out[name] = self._out[name] / 2

    def _after(self, part: Linear, norm: Norm, theirs: str | None = None) -> None:
        """A linear layer with the gain and bias of the norm before it."""
        name = theirs or part.name
        weight, (gain, offset) = self._w[f"{name}.weight"], self._norm(norm)
        bias = self._w.get(f"{name}.bias")
        if offset is not None:
            bias = _sum(offset @ weight, bias)
        self._put(part, gain[:, None] * weight, bias)

    def _into_residual(self, part: Linear, skip: Skip | None, norm: Norm) -> None:
        """A linear layer whose sums are added to the residual, be that a sum or the rows of `norm`."""
        bias = self._w.get(f"{part.name}.bias")
        if skip is not None:
            gain, offset = self._norm(norm)
            if offset is not None:
                bias = _sum(offset, bias)
            self._out[skip.gain], self._out[skip.mean] = gain, (gain / len(gain))[:, None]
        centred = None if bias is None else self._centred(bias)
        self._put(part, self._centred(self._w[f"{part.name}.weight"]), centred)

    def _put(self, part: Linear, weight: A, bias: A | None) -> None:
        self._out[f"{part.name}.weight"] = weight
        if part.biased:
            assert bias is not None
            self._out[f"{part.name}.bias"] = bias

    def _norm(self, norm: Norm) -> tuple[A, A | None]:
        return self._w[f"{norm.site}.norm.gain"], self._w.get(f"{norm.site}.norm.bias")

    def _centred(self, x: A) -> A:
        if self._spec.norm == "rms":
            return x
        centred: A = x - x.mean(-1)[..., None]
        return centred


def _each(x: A, factors: list[float]) -> A:
    """Columns times their factors: one multiplication where they are alike."""
    if len(set(factors)) == 1:
        alike: A = x * factors[0]
        return alike
    row = np.array(factors) if isinstance(x, np.ndarray) else x.new_tensor(factors)
    scaled: A = x * row
    return scaled


def _sum(x: A, y: A | None) -> A:
    return x if y is None else x + y
