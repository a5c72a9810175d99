"""ViT: patches of an image as rows, a learned row before them, and a classifier of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.families import Family
from privinf.models.families._common import HARMLESS_KEYS, blocks, classifier, even_heads, linear, named, norm
from privinf.models.families._encoders import READ_KEYS, layer, projections
from privinf.models.source.reading import Config, Keys, activation, epsilon, flag, size
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, ModelSpec, Patches, Task

READ = READ_KEYS | {"image_size", "patch_size", "num_channels", "qkv_bias"}
UNUSED = {"encoder_stride", "pooler_output_size", "pooler_act"}
PROJECTIONS, NORMS = projections("attention.attention"), ("layernorm_before", "layernorm_after")
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
    yield "embed.position", Tensor("embeddings.position_embeddings", (1, rows, width), laid=(rows, width))
    yield (
        "embed.patch.weight",
        Tensor(f"{patch}.weight", kernel, transposed=True, laid=(width, image.values)),
    )
    yield "embed.patch.bias", Tensor(f"{patch}.bias", (width,))
    for i in range(spec.layers):
        yield from layer(f"layer{i}", f"encoder.layer.{i}", spec, PROJECTIONS, NORMS)
    yield from norm("head.norm", "layernorm", width)
    yield from linear("head", "classifier", width, len(spec.labels))


ENTRY = Family(
    keys=Keys("ViTConfig", READ, harmless=HARMLESS_KEYS | UNUSED),
    classes={"ViTForImageClassification": "classify"},
    bare="ViTModel",
    prefix="vit.",
    read=_read,
    write=_write,
    tensors=_tensors,
)
