"""Rewrites a decoder's checkpoint for computing on shares: gains folded, LayerNorm turned into RMSNorm, base two.

With n the normalised row, g and b its gain and bias, the next linear layer is n (diag(g) W) + (b W + c). LayerNorm
ignores a row's mean, so everything that is added to the residual is centred beforehand, and no mean is computed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import F32, F64, LOG2_E


def fold_decoder(spec: DecoderSpec, weights: Mapping[str, F32]) -> dict[str, F64]:
    """The weights that models/parts.py names, in float64; mathematically the same function."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    centre = _centre if spec.family == "gpt2" else _same
    out: dict[str, F64] = {"embed.token": centre(w["embed.token"])}
    if "embed.position" in w:
        out["embed.position"] = centre(w["embed.position"])
    for i in range(spec.layers):
        for part in "qkv":
            _after_norm(out, w, f"layer{i}.attn.{part}", f"layer{i}.attn.norm")
        for suffix in (".weight", ".bias"):
            if (name := f"layer{i}.attn.q{suffix}") in out:
                out[name] = out[name] * (LOG2_E / np.sqrt(spec.head_width))
        _into_residual(out, w, f"layer{i}.attn.out", spec)
        for part in ("gate", "up") if spec.gated else ("up",):
            _after_norm(out, w, f"layer{i}.ffn.{part}", f"layer{i}.ffn.norm")
        _into_residual(out, w, f"layer{i}.ffn.down", spec)
    w["head.out.weight"] = w["head.weight"]
    _after_norm(out, w, "head.out", "final.norm")
    return out


def _after_norm(out: dict[str, F64], w: Mapping[str, F64], name: str, norm: str) -> None:
    """A linear layer with the gain and bias of the norm before it; it has a bias if either had."""
    weight = w[f"{name}.weight"]
    out[f"{name}.weight"] = w[f"{norm}.gain"][:, None] * weight
    if f"{norm}.bias" in w:
        out[f"{name}.bias"] = w[f"{norm}.bias"] @ weight + w.get(f"{name}.bias", np.zeros(weight.shape[1]))


def _into_residual(out: dict[str, F64], w: Mapping[str, F64], name: str, spec: DecoderSpec) -> None:
    centre = _centre if spec.family == "gpt2" else _same
    out[f"{name}.weight"] = centre(w[f"{name}.weight"])
    if spec.biased:
        out[f"{name}.bias"] = centre(w[f"{name}.bias"])


def _same(x: F64) -> F64:
    return x


def _centre(x: F64) -> F64:
    centred: F64 = x - x.mean(axis=-1, keepdims=True)
    return centred
