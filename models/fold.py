"""Rewrites a checkpoint for computing on shares: gains and centring folded into weights, scores in base two.

Every normalisation then divides only; with n the normalised row, g and b its gain and bias:
  the next linear layer     (n*g + b) W + c          = n (diag(g) W) + (b W + c)
  the residual              centre(y + n*g + b)      = y C + n*g - n (g/D) + centre(b),  C = I - 1/D
so that no row mean is ever computed on shares beyond one dot product with g/D.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from privinf.models.spec import EncoderSpec

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
LOG2_E = 1.0 / np.log(2.0)
RELATIVE = "bias.relative"  # what a relative position adds to the scores of every layer, (buckets, heads)


def fold(spec: EncoderSpec, weights: Mapping[str, F32]) -> dict[str, F64]:
    """The weights that models/parts.py names, in float64; mathematically the same function."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    positions = w["embed.position"][spec.names.first_position :]
    if spec.names.typed:
        positions = positions + w["embed.type"][0]
    out: dict[str, F64] = {"embed.token": _centre(w["embed.token"]), "embed.position": _centre(positions)}
    if spec.names.buckets:
        out[RELATIVE] = w["relative"] * LOG2_E
    gain, bias = w["embed.norm.gain"], w["embed.norm.bias"]
    for i in range(spec.layers):
        layer = f"layer{i}"
        _attention(out, w, layer, gain, bias, spec.width // spec.heads)
        gain, bias = w[f"{layer}.attn.norm.gain"], w[f"{layer}.attn.norm.bias"]
        _feed_forward(out, w, layer, gain, bias)
        gain, bias = w[f"{layer}.ffn.norm.gain"], w[f"{layer}.ffn.norm.bias"]
    if spec.head == "none":
        out["pool.gain"], out["pool.bias"] = gain, bias
    else:
        _linear(out, "head.pooler", *_folded(w, "pooler", gain, bias))
        _linear(out, "head.out", w["head.weight"], w["head.bias"])
    return out


def _attention(
    out: dict[str, F64], w: Mapping[str, F64], layer: str, gain: F64, bias: F64, head_width: int
) -> None:
    for name in "qkv":
        weight, offset = _folded(w, f"{layer}.attn.{name}", gain, bias)
        factor = LOG2_E / np.sqrt(head_width) if name == "q" else 1.0
        _linear(out, f"{layer}.attn.{name}", weight * factor, offset * factor)
    weight, offset = w[f"{layer}.attn.out.weight"], w[f"{layer}.attn.out.bias"]
    _linear(out, f"{layer}.attn.out", _centre(weight), _centre(offset + bias))
    _skip(out, f"{layer}.attn.skip", gain)


def _feed_forward(out: dict[str, F64], w: Mapping[str, F64], layer: str, gain: F64, bias: F64) -> None:
    _linear(out, f"{layer}.ffn.up", *_folded(w, f"{layer}.ffn.up", gain, bias))
    weight, offset = w[f"{layer}.ffn.down.weight"], w[f"{layer}.ffn.down.bias"]
    _linear(out, f"{layer}.ffn.down", _centre(weight), _centre(offset + bias))
    _skip(out, f"{layer}.ffn.skip", gain)


def _linear(out: dict[str, F64], name: str, weight: F64, bias: F64) -> None:
    out[f"{name}.weight"], out[f"{name}.bias"] = weight, bias


def _skip(out: dict[str, F64], name: str, gain: F64) -> None:
    out[f"{name}.gain"] = gain
    out[f"{name}.mean"] = (gain / gain.size)[:, None]


def _folded(w: Mapping[str, F64], name: str, gain: F64, bias: F64) -> tuple[F64, F64]:
    weight = w[f"{name}.weight"]
    return gain[:, None] * weight, bias @ weight + w[f"{name}.bias"]


def _centre(x: F64) -> F64:
    centred: F64 = x - x.mean(axis=-1, keepdims=True)
    return centred
