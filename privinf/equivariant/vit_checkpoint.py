"""Reads a vision transformer's directory: its shape, and its weights under our own names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privinf.errors import ModelError
from privinf.models.families import HARMLESS_KEYS
from privinf.models.settings import Config, Keys, activation, architecture, epsilon, flag, read_object, size
from privinf.models.spec import Says, read_labels, read_meaning
from privinf.models.tensors import (
    WEIGHTS,
    Array,
    Tensor,
    by_plain_name,
    check_names,
    read_tensor,
    stored_tensors,
)

ARCHITECTURE = "ViTForImageClassification"
PREFIX = "vit."
READ = """
model_type architectures hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act
layer_norm_eps image_size patch_size num_channels qkv_bias id2label num_labels problem_type
"""
UNUSED = frozenset(("encoder_stride", "pooler_output_size", "pooler_act"))
KEYS = Keys("ViTConfig", frozenset(READ.split()), {}, HARMLESS_KEYS | UNUSED)


@dataclass(frozen=True)
class Image:
    """The one size of images that a model takes, and how they are cut."""

    height: int
    width: int
    patch_height: int
    patch_width: int
    channels: int

    @property
    def patches(self) -> int:
        """How many, row by row."""
        return (self.height // self.patch_height) * (self.width // self.patch_width)

    @property
    def values(self) -> int:
        """Numbers in a patch: channel, then row, then column."""
        return self.channels * self.patch_height * self.patch_width


@dataclass(frozen=True)
class VitSpec:
    """Everything public about a classifier of images."""

    layers: int
    width: int
    heads: int
    ffn: int
    activation: str
    eps: float
    biased: bool
    image: Image
    labels: tuple[str, ...]
    says: Says = "label"


def load_vit(directory: Path) -> tuple[VitSpec, dict[str, Array]]:
    """Specification and weights; weights of linear layers are (in, out), and the patches' is one of them."""
    spec = read_vit_spec(directory)
    path = directory / WEIGHTS
    stored = stored_tensors(path)
    names = by_plain_name(stored, lambda name: name.removeprefix(PREFIX), path)
    wanted = vit_tensors(spec)
    model = f"{spec.layers} layers of a ViT with {len(spec.labels)} labels"
    check_names(names, {tensor.theirs for tensor in wanted.values()}, set(), model, path)

    def read(tensor: Tensor) -> Array:
        return read_tensor(stored[names[tensor.theirs]], tensor, f"{path}: {names[tensor.theirs]!r}")

    weights = {ours: read(tensor) for ours, tensor in wanted.items()}
    weights["embed.patch.weight"] = np.ascontiguousarray(
        weights["embed.patch.weight"].reshape(spec.width, -1).T
    )
    weights["embed.class"] = weights["embed.class"].reshape(spec.width)
    weights["embed.position"] = weights["embed.position"][0]
    return spec, weights


def read_vit_spec(directory: Path) -> VitSpec:
    """Reads config.json; the weights need not be there."""
    path = directory / "config.json"
    config = read_object(path)
    KEYS.check(config, path)
    architecture(config, (ARCHITECTURE,), path)
    width, heads = size(config, "hidden_size", path, 768), size(config, "num_attention_heads", path, 12)
    if width % heads:
        raise ModelError(f"{path}: hidden_size {width} is not a multiple of num_attention_heads {heads}")
    labels = read_labels(config, path)
    return VitSpec(
        layers=size(config, "num_hidden_layers", path, 12),
        width=width,
        heads=heads,
        ffn=size(config, "intermediate_size", path, 3072),
        activation=activation(config, "hidden_act", path, "gelu"),
        eps=epsilon(config, "layer_norm_eps", path, 1e-12),
        biased=flag(config, "qkv_bias", path, True),
        image=_image(config, path),
        labels=labels,
        says=read_meaning(config, labels, path),
    )


def _image(config: Config, path: Path) -> Image:
    (height, width), (rows, columns) = (
        _pair(config, "image_size", path, 224),
        _pair(config, "patch_size", path, 16),
    )
    if height % rows or width % columns:
        raise ModelError(f"{path}: image_size {height} x {width} is not a multiple of patch_size")
    return Image(height, width, rows, columns, size(config, "num_channels", path, 3))


def _pair(config: Config, key: str, path: Path, default: int) -> tuple[int, int]:
    """A side of a square, or height and width."""
    given = config.get(key, default)
    first, second = given if isinstance(given, list) and len(given) == 2 else (given, given)
    return size({key: first}, key, path), size({key: second}, key, path)


def vit_tensors(spec: VitSpec) -> dict[str, Tensor]:
    """All arrays of a classifier of images, by our name."""
    return dict(_tensors(spec))


def _tensors(spec: VitSpec) -> Iterator[tuple[str, Tensor]]:
    image, width = spec.image, spec.width
    kernel = (width, image.channels, image.patch_height, image.patch_width)
    yield "embed.class", Tensor("embeddings.cls_token", (1, 1, width))
    yield "embed.position", Tensor("embeddings.position_embeddings", (1, image.patches + 1, width))
    yield "embed.patch.weight", Tensor("embeddings.patch_embeddings.projection.weight", kernel)
    yield "embed.patch.bias", Tensor("embeddings.patch_embeddings.projection.bias", (width,))
    for i in range(spec.layers):
        yield from _layer(f"layer{i}", f"encoder.layer.{i}", spec)
    yield from _norm("final.norm", "layernorm", width)
    yield from _linear("head", "classifier", width, len(spec.labels))


def _layer(ours: str, theirs: str, spec: VitSpec) -> Iterator[tuple[str, Tensor]]:
    width, ffn = spec.width, spec.ffn
    for part, name in {"q": "query", "k": "key", "v": "value"}.items():
        yield from _linear(
            f"{ours}.attn.{part}", f"{theirs}.attention.attention.{name}", width, width, spec.biased
        )
    yield from _linear(f"{ours}.attn.out", f"{theirs}.attention.output.dense", width, width)
    yield from _norm(f"{ours}.attn.norm", f"{theirs}.layernorm_before", width)
    yield from _linear(f"{ours}.ffn.up", f"{theirs}.intermediate.dense", width, ffn)
    yield from _linear(f"{ours}.ffn.down", f"{theirs}.output.dense", ffn, width)
    yield from _norm(f"{ours}.ffn.norm", f"{theirs}.layernorm_after", width)


def _linear(
    ours: str, theirs: str, inputs: int, outputs: int, biased: bool = True
) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.weight", Tensor(f"{theirs}.weight", (outputs, inputs), transposed=True)
    if biased:
        yield f"{ours}.bias", Tensor(f"{theirs}.bias", (outputs,))


def _norm(ours: str, theirs: str, width: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.gain", Tensor(f"{theirs}.weight", (width,))
    yield f"{ours}.bias", Tensor(f"{theirs}.bias", (width,))
