"""ViT: patches of an image as rows, a learned row before them, and a classifier of it."""

from __future__ import annotations

from pathlib import Path

from privinf.models.families import Family
from privinf.models.families._encoders import READ_KEYS
from privinf.models.families._vision import IMAGE_KEYS, UNUSED, read, tensors, written
from privinf.models.source.reading import Config, Keys
from privinf.models.spec import ModelSpec, Task


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    return read("vit", config, path)


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
    processor="ViT",
)
