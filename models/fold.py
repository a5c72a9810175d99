"""Rewrites a checkpoint for computing on shares: gains and centring folded into weights, scores in base two.

Every normalisation then divides only; with n the normalised row, g and b its gain and bias, C = I - 1/D:
  the next linear layer           (n*g + b) W + c          = n (diag(g) W) + (b W + c)
  a residual of normalised rows   centre(y + n*g + b)      = y C + n*g - n (g/D) + centre(b)
LayerNorm ignores a row's mean, so what is added to the residual is centred beforehand: no mean of a row is computed on
shares beyond one dot product with g/D.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from privinf.models.parts import FeedForward, Head, Layer, Linear, Norm, Skip, build
from privinf.models.spec import ModelSpec

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
LOG2_E = 1.0 / np.log(2.0)


def fold(spec: ModelSpec, weights: Mapping[str, F32]) -> dict[str, F64]:
    """The weights that models/parts.py names, in float64; mathematically the same function."""
    return _Fold(spec, weights).run()


class _Fold:
    def __init__(self, spec: ModelSpec, weights: Mapping[str, F32]) -> None:
        self._spec, self._model = spec, build(spec)
        self._w = {name: array.astype(np.float64) for name, array in weights.items()}
        self._out: dict[str, F64] = {}

    def run(self) -> dict[str, F64]:
        """Norms stand in the order in which rows meet them: each goes into the layers before the next."""
        norms = iter(self._model.norms)
        self._embeddings()
        for layer in self._model.layers:
            self._attention(layer, next(norms))
            self._feed_forward(layer.ffn, layer.ffn_skip, next(norms))
        self._head(self._model.head, next(norms))
        return self._out

    def _embeddings(self) -> None:
        w, out, inputs = self._w, self._out, self._spec.tokens
        out["embed.token"] = self._centred(w["embed.token"])
        if inputs.places:
            places = w["embed.position"][inputs.places - self._spec.max_tokens :]
            out["embed.position"] = self._centred(places + w["embed.type"][0] if inputs.types else places)
        for part in {layer.attention.relative for layer in self._model.layers} - {None}:
            out[str(part)] = w["relative"] * LOG2_E

    def _attention(self, layer: Layer, norm: Norm) -> None:
        part = layer.attention
        for projection in (part.q, part.k, part.v):
            self._after(projection, norm)
        factor = LOG2_E / np.sqrt(part.head_width)
        for name in (f"{part.q.name}.weight", f"{part.q.name}.bias"):
            if name in self._out:
                self._out[name] = self._out[name] * factor
        self._into_residual(part.out, layer.attention_skip, norm)

    def _feed_forward(self, part: FeedForward, skip: Skip | None, norm: Norm) -> None:
        for linear in (part.gate, part.up):
            if linear is not None:
                self._after(linear, norm)
        self._into_residual(part.down, skip, norm)

    def _head(self, head: Head, norm: Norm) -> None:
        if head.logits is not None:
            self._after(head.logits, norm, "head")
        elif head.pooler is not None:
            self._after(head.pooler.up, norm, "pooler")
            self._put(head.pooler.down, self._w["head.weight"], self._w["head.bias"])
        else:
            gain, bias = self._norm(norm)
            self._out[f"{head.label}.gain"], self._out[f"{head.label}.bias"] = gain, bias

    def _after(self, part: Linear, norm: Norm, theirs: str | None = None) -> None:
        """A linear layer with the gain and bias of the norm before it."""
        name = theirs or part.name
        weight, (gain, offset) = self._w[f"{name}.weight"], self._norm(norm)
        bias = offset @ weight + self._w.get(f"{name}.bias", np.zeros(weight.shape[1]))
        self._put(part, gain[:, None] * weight, bias)

    def _into_residual(self, part: Linear, skip: Skip | None, norm: Norm) -> None:
        """A linear layer whose sums are added to the residual, be that a sum or the rows of `norm`."""
        bias = self._w.get(f"{part.name}.bias", np.zeros(self._spec.width))
        if skip is not None:
            gain, offset = self._norm(norm)
            bias = bias + offset
            self._out[skip.gain], self._out[skip.mean] = gain, (gain / gain.size)[:, None]
        self._put(part, self._centred(self._w[f"{part.name}.weight"]), self._centred(bias))

    def _put(self, part: Linear, weight: F64, bias: F64) -> None:
        self._out[f"{part.name}.weight"] = weight
        if part.biased:
            self._out[f"{part.name}.bias"] = bias

    def _norm(self, norm: Norm) -> tuple[F64, F64]:
        gain = self._w[f"{norm.site}.norm.gain"]
        return gain, self._w.get(f"{norm.site}.norm.bias", np.zeros(gain.size))

    def _centred(self, x: F64) -> F64:
        if self._spec.norm == "rms":
            return x
        centred: F64 = x - x.mean(axis=-1, keepdims=True)
        return centred
