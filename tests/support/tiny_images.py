"""Small random classifiers of images in directories of their own, and what plain PyTorch says of ViT-Lite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from privinf.formats.directory import write_model
from privinf.models.source.checkpoint import read_spec, tensors
from privinf.models.source.tensors import Array
from privinf.models.spec import ModelSpec

SIZES: dict[str, object] = {
    "model_type": "vit_lite",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": [8, 12],
    "patch_size": 4,
    "num_channels": 3,
    "id2label": {"0": "down", "1": "level", "2": "up"},
}
EPS = 1e-5


def write_lite(folder: Path, seed: int = 0, **settings: object) -> ModelSpec:
    """A ViT-Lite of random weights; `settings` go into its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SIZES | settings))
    spec = read_spec(folder)
    write_model(folder, spec, drawn(spec, seed))
    return spec


def drawn(spec: ModelSpec, seed: int = 0) -> dict[str, Array]:
    """Random parameters under our names: gains about one, and no bias is zero."""
    draw, out = np.random.default_rng(seed), dict[str, Array]()
    for name, tensor in tensors(spec).items():
        shape = tensor.ours(np.empty(tensor.shape, dtype=np.float32)).shape
        values = draw.standard_normal(shape) * (0.3 if len(shape) == 1 else 0.2)
        out[name] = (values + name.endswith(".gain")).astype(np.float32)
    return out


def pixels(spec: ModelSpec, count: int, seed: int = 1) -> Array:
    image, draw = spec.patches, np.random.default_rng(seed)
    shape = (count, image.channels, image.height, image.width)
    return draw.uniform(-2, 2, shape).astype(np.float32)


def lite(spec: ModelSpec, weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Logits of ViT-Lite with softmax and GELU, written out by PyTorch's own functions."""
    image, count = spec.patches, len(images)
    kernel = weights["embed.patch.weight"].T.reshape(
        spec.width, image.channels, image.patch_height, image.patch_width
    )
    rows = functional.conv2d(images, kernel, weights["embed.patch.bias"], kernel.shape[2:])
    front = weights["embed.class"].expand(count, 1, -1)
    x = torch.cat((front, rows.flatten(2).transpose(1, 2)), 1) + weights["embed.position"]
    for i in range(spec.layers):
        site, norm = f"layer{i}.attn", f"layer{i}.ffn.norm"
        x = x + _attention(spec, weights, site, _norm(weights, f"{site}.norm", x))
        x = _norm(weights, norm, x)
        up = _linear(weights, f"layer{i}.ffn.up", x)
        x = x + _linear(weights, f"layer{i}.ffn.down", functional.gelu(up))
    return _linear(weights, "head", _norm(weights, "head.norm", x)[:, 0])


def _attention(spec: ModelSpec, weights: dict[str, torch.Tensor], site: str, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (
        (x @ weights[f"{site}.{part}.weight"]).unflatten(2, (spec.heads, -1)).transpose(1, 2)
        for part in "qkv"
    )
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return _linear(weights, f"{site}.out", mixed.transpose(1, 2).flatten(2))


def _linear(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _norm(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    gain, bias = weights[f"{name}.gain"], weights[f"{name}.bias"]
    return functional.layer_norm(x, x.shape[-1:], gain, bias, EPS)
