"""ViT: patches of an image as rows, a learned row before them, and a classifier of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.families import Family
from privinf.models.families._common import HARMLESS_KEYS, blocks, classifier, even_heads, linear, named, norm
from privinf.models.source.reading import Config, Keys, activation, epsilon, flag, size
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, ModelSpec, Patches, Task

READ = """
model_type architectures hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act
layer_norm_eps image_size patch_size num_channels qkv_bias id2label num_labels problem_type
"""
UNUSED = {"encoder_stride", "pooler_output_size", "pooler_act"}
BIASES = frozenset(("out", "ffn", "norm", "head"))


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    width, heads = size(config, "hidden_size", path, 768), size(config, "num_attention_heads", path, 12)
    patches = _patches(config, path)
    block = BlockSpec(activation(config, "hidden_act", path, "gelu"))
    return ModelSpec(
        family="vit",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=even_heads(width, heads, ("hidden_size", "num_attention_heads"), path),
        ffn=size(config, "intermediate_size", path, 3072),
        max_tokens=patches.count + 1,
        order="pre",
        norm="layer",
        eps=epsilon(config, "layer_norm_eps", path, 1e-12),
        blocks=blocks(block, config, "num_hidden_layers", path, 12),
        inputs=patches,
        head=classifier(config, path, None),
        biases=BIASES | {"qkv"} if flag(config, "qkv_bias", path, True) else BIASES,
    )


def _patches(config: Config, path: Path) -> Patches:
    height, width = _pair(config, "image_size", path, 224)
    rows, columns = _pair(config, "patch_size", path, 16)
    if height % rows or width % columns:
        raise ModelError(f"{path}: image_size {height} x {width} is not a multiple of patch_size")
    return Patches(height, width, rows, columns, size(config, "num_channels", path, 3))


def _pair(config: Config, key: str, path: Path, default: int) -> tuple[int, int]:
    """A side of a square, or height and width."""
    given = config.get(key, default)
    first, second = given if isinstance(given, list) and len(given) == 2 else (given, given)
    return size({key: first}, key, path), size({key: second}, key, path)


def _write(spec: ModelSpec) -> dict[str, object]:
    image = spec.patches
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "hidden_act": spec.blocks[0].activation,
        "layer_norm_eps": spec.eps,
        "qkv_bias": "qkv" in spec.biases,
        "image_size": _sides(image.height, image.width),
        "patch_size": _sides(image.patch_height, image.patch_width),
        "num_channels": image.channels,
        **named(spec.labels),
    }


def _sides(height: int, width: int) -> int | list[int]:
    return height if height == width else [height, width]


def _tensors(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    image, width = spec.patches, spec.width
    kernel = (width, image.channels, image.patch_height, image.patch_width)
    patch = "embeddings.patch_embeddings.projection"
    yield "embed.class", Tensor("embeddings.cls_token", (1, 1, width), laid=(width,))
    rows = spec.max_tokens
    yield (
        "embed.position",
        Tensor("embeddings.position_embeddings", (1, rows, width), laid=(rows, width)),
    )
    yield (
        "embed.patch.weight",
        Tensor(f"{patch}.weight", kernel, transposed=True, laid=(width, image.values)),
    )
    yield "embed.patch.bias", Tensor(f"{patch}.bias", (width,))
    for i in range(spec.layers):
        yield from _layer(f"layer{i}", f"encoder.layer.{i}", spec)
    yield from norm("head.norm", "layernorm", width)
    yield from linear("head", "classifier", width, len(spec.labels))


def _layer(ours: str, theirs: str, spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    width, ffn, biased = spec.width, spec.ffn, "qkv" in spec.biases
    for part, name in {"q": "query", "k": "key", "v": "value"}.items():
        inside = f"{theirs}.attention.attention.{name}"
        yield from linear(f"{ours}.attn.{part}", inside, width, width, biased=biased)
    yield from linear(f"{ours}.attn.out", f"{theirs}.attention.output.dense", width, width)
    yield from norm(f"{ours}.attn.norm", f"{theirs}.layernorm_before", width)
    yield from linear(f"{ours}.ffn.up", f"{theirs}.intermediate.dense", width, ffn)
    yield from linear(f"{ours}.ffn.down", f"{theirs}.output.dense", ffn, width)
    yield from norm(f"{ours}.ffn.norm", f"{theirs}.layernorm_after", width)


ENTRY = Family(
    keys=Keys("ViTConfig", frozenset(READ.split()), {}, HARMLESS_KEYS | UNUSED),
    classes={"ViTForImageClassification": "classify"},
    bare="ViTModel",
    prefix="vit.",
    read=_read,
    write=_write,
    tensors=_tensors,
)
