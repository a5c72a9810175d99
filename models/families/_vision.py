"""Vision transformers as ViT's descendants are written down: how images are cut, and their tensors' names in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.families._common import HARMLESS_KEYS, blocks, classifier, even_heads, linear, named, norm
from privinf.models.families._encoders import layer, projections
from privinf.models.parts import FRONT
from privinf.models.plan.scales import PATCH
from privinf.models.source.reading import Config, activation, epsilon, flag, size
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, ModelSpec, Patches

IMAGE_KEYS = frozenset(("image_size", "patch_size", "num_channels"))
UNUSED = HARMLESS_KEYS | {"encoder_stride", "pooler_output_size", "pooler_act"}
PROJECTIONS, NORMS = projections("attention.attention"), ("layernorm_before", "layernorm_after")
BIASES = frozenset(("out", "ffn", "norm", "head"))
TOKENS = ("cls_token", "distillation_token")  # the file's names of rows before patches


def read(family: str, config: Config, path: Path, front: int = 1) -> ModelSpec:
    """One with ViT's configuration, whose rows stand behind `front` others."""
    width, heads = size(config, "hidden_size", path, 768), size(config, "num_attention_heads", path, 12)
    image = patches(config, path, front)
    block = BlockSpec(activation(config, "hidden_act", path, "gelu"))
    return ModelSpec(
        family=family,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=even_heads(width, heads, ("hidden_size", "num_attention_heads"), path),
        ffn=size(config, "intermediate_size", path, 3072),
        max_tokens=image.rows,
        order="pre",
        norm="layer",
        eps=epsilon(config, "layer_norm_eps", path, 1e-12),
        blocks=blocks(block, config, "num_hidden_layers", path, 12),
        inputs=image,
        head=classifier(config, path, None),
        biases=BIASES | {"qkv"} if flag(config, "qkv_bias", path, True) else BIASES,
    )


def patches(config: Config, path: Path, front: int = 1) -> Patches:
    """How images are cut; `front` rows go before theirs."""
    height, width = _pair(config, "image_size", path, 224)
    rows, columns = _pair(config, "patch_size", path, 16)
    if height % rows or width % columns:
        raise ModelError(f"{path}: image_size {height} x {width} is not a multiple of patch_size")
    return Patches(height, width, rows, columns, size(config, "num_channels", path, 3), front)


def _pair(config: Config, key: str, path: Path, default: int) -> tuple[int, int]:
    """A side of a square, or height and width."""
    given = config.get(key, default)
    first, second = given if isinstance(given, list) and len(given) == 2 else (given, given)
    return size({key: first}, key, path), size({key: second}, key, path)


def written(spec: ModelSpec) -> dict[str, object]:
    """The keys that all of them have."""
    image = spec.patches
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "layer_norm_eps": spec.eps,
        "image_size": _sides(image.height, image.width),
        "patch_size": _sides(image.patch_height, image.patch_width),
        "num_channels": image.channels,
        **named(spec.labels),
    }


def _sides(height: int, width: int) -> int | list[int]:
    return height if height == width else [height, width]


def embeddings(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    """Rows before patches, patches and positions."""
    image, width, rows = spec.patches, spec.width, spec.max_tokens
    kernel = (width, image.channels, image.patch_height, image.patch_width)
    patch = "embeddings.patch_embeddings.projection"
    for ours, theirs in zip(FRONT[: image.front], TOKENS, strict=False):
        yield ours, Tensor(f"embeddings.{theirs}", (1, 1, width), laid=(width,))
    yield "embed.position", Tensor("embeddings.position_embeddings", (1, rows, width), laid=(rows, width))
    yield PATCH, Tensor(f"{patch}.weight", kernel, transposed=True, laid=(width, image.values))
    yield "embed.patch.bias", Tensor(f"{patch}.bias", (width,))


def body(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    """All arrays before the classifier."""
    yield from embeddings(spec)
    for i in range(spec.layers):
        yield from layer(f"layer{i}", f"encoder.layer.{i}", spec, PROJECTIONS, NORMS)
    yield from norm("head.norm", "layernorm", spec.width)


def tensors(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    """All arrays of one with a single classifier."""
    yield from body(spec)
    yield from linear("head", "classifier", spec.width, len(spec.labels))
