"""ViT: patches of an image as rows, a learned row before them, and a classifier of it."""

from __future__ import annotations

from pathlib import Path

from privinf.models.families import Family
from privinf.models.families._common import blocks, classifier, even_heads
from privinf.models.families._encoders import READ_KEYS
from privinf.models.families._vision import BIASES, IMAGE_KEYS, UNUSED, patches, tensors, written
from privinf.models.source.reading import Config, Keys, activation, epsilon, flag, size
from privinf.models.spec import BlockSpec, ModelSpec, Task


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    width, heads = size(config, "hidden_size", path, 768), size(config, "num_attention_heads", path, 12)
    image = patches(config, path)
    block = BlockSpec(activation(config, "hidden_act", path, "gelu"))
    return ModelSpec(
        family="vit",
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


def _write(spec: ModelSpec) -> dict[str, object]:
    return {**written(spec), "hidden_act": spec.blocks[0].activation, "qkv_bias": "qkv" in spec.biases}


ENTRY = Family(
    keys=Keys("ViTConfig", READ_KEYS | IMAGE_KEYS | {"qkv_bias"}, harmless=UNUSED),
    classes={"ViTForImageClassification": "classify"},
    bare="ViTModel",
    prefix="vit.",
    read=_read,
    write=_write,
    tensors=tensors,
)
