"""Small random classifiers of images in directories of their own, and what plain PyTorch says of ViT-Lite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from tiny import Answer, Roles, roles
from torch.nn import functional

from privinf.formats.directory import write_model
from privinf.models.clear import ClearImages
from privinf.models.engines.stores import IdealStore, encode
from privinf.models.fold import F64, fold
from privinf.models.programs import images as programs
from privinf.models.programs import query, wire
from privinf.models.programs.layout import ImageLayout
from privinf.models.programs.public import Public
from privinf.models.sharing import bundle, calibrate
from privinf.models.source.checkpoint import load, read_spec, tensors
from privinf.models.source.tensors import Array
from privinf.models.spec import ModelSpec
from privinf.protocols.contract import QueryShape

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
MOST = 2.0  # of pixels


def write_lite(folder: Path, seed: int = 0, **settings: object) -> ModelSpec:
    """A ViT-Lite of random weights; `settings` go into its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SIZES | settings))
    spec = read_spec(folder)
    write_model(folder, spec, drawn(spec, seed))
    return spec


def write_deit(folder: Path, name: str) -> torch.nn.Module:
    """A DeiT of random weights, as transformers writes it; the model itself."""
    labels = {int(i): label for i, label in enumerate(("down", "level", "up"))}
    sizes = {key: SIZES[key] for key in (*SIZES,) if key not in ("model_type", "id2label")}
    torch.manual_seed(0)
    model: torch.nn.Module = getattr(transformers, name)(transformers.DeiTConfig(**sizes, id2label=labels))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1 if parameter.ndim == 1 else 0, 0.2)
    transformers.utils.logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    return model


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


@dataclass(frozen=True)
class SharedImages(Roles):
    """A shared model of images in one process."""

    spec: ModelSpec = field(kw_only=True)
    folded: Mapping[str, F64] = field(kw_only=True)

    @property
    def layout(self) -> ImageLayout:
        assert isinstance(self.client.layout, ImageLayout)
        return self.client.layout

    def values(self, images: Array) -> wire.Values:
        """What the client shares."""
        return programs.lay_out(self.layout, self.shape(len(images)), images, bundle.of_patches(self.client))

    def shape(self, batch: int) -> QueryShape:
        return QueryShape("classify", batch, self.spec.max_tokens)

    def fixed(self, images: Array, seeds: tuple[bytes, bytes]) -> tuple[F64, bool]:
        """The fixed interpreter's logits, and whether they would be given."""
        layout, shape = self.layout, self.shape(len(images))
        encoded = encode(self.folded, layout.scale)
        store, public = IdealStore(encoded, layout.scale), Public.of(layout, encoded)
        given = programs.plain(layout, shape, self.values(images))
        return query.fixed(layout, shape, given, seeds, store, public)

    def ask(self, images: Array, seeds: tuple[bytes, bytes]) -> Answer:
        """Deal, evaluate at both parties, and add up."""
        layout, shape = self.layout, self.shape(len(images))
        session = self.exchange(shape, wire.split(layout.form(shape), self.values(images)), seeds)
        total = wire.add_up(layout.result(shape), session.shares)
        return Answer(**vars(session), rows=programs.decode(layout, shape, total))

    def clear(self, images: Array) -> Array:
        """Float32 logits."""
        logits: Array = ClearImages(self.spec, self.folded).run(torch.from_numpy(images))[:, 0].numpy()
        return logits


def share(folder: Path, out: Path, mode: bundle.Mode, calibration: Array | None = None) -> SharedImages:
    """Share a written model among the roles of one process."""
    spec, weights = load(folder)
    folded = fold(spec, weights)
    images = pixels(spec, 48, seed=5) if calibration is None else calibration
    plan = calibrate.calibrate_images(spec, folded, images, MOST)
    bundle.write(folder, out, folded, plan, mode)
    return SharedImages(*roles(out), spec=spec, folded=folded)
