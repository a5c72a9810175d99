"""DeiT: a ViT with a second learned row, behind which a classifier of its own may have been taught by another model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from privinf.models.families import Family
from privinf.models.families._common import linear
from privinf.models.families._encoders import READ_KEYS
from privinf.models.families._vision import IMAGE_KEYS, UNUSED, body, read, tensors, written
from privinf.models.source.reading import Config, Keys, architecture
from privinf.models.source.tensors import Tensor
from privinf.models.spec import ModelSpec, Task

ALONE, TAUGHT = "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    spec = read("deit", config, path, front=2)
    if architecture(config, (ALONE, TAUGHT), path) == ALONE:
        return spec
    return replace(spec, head=replace(spec.classifier, averaged=2))


def _write(spec: ModelSpec) -> dict[str, object]:
    named = TAUGHT if spec.classifier.averaged == 2 else ALONE
    return {
        **written(spec),
        "architectures": [named],
        "hidden_act": spec.blocks[0].activation,
        "qkv_bias": "qkv" in spec.biases,
    }


def _tensors(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    if spec.classifier.averaged == 1:
        yield from tensors(spec)
        return
    yield from body(spec)
    yield from linear("head", "cls_classifier", spec.width, len(spec.labels))
    yield from linear("head.distilled", "distillation_classifier", spec.width, len(spec.labels))


ENTRY = Family(
    keys=Keys("DeiTConfig", READ_KEYS | IMAGE_KEYS | {"qkv_bias"}, harmless=UNUSED),
    classes={ALONE: "classify", TAUGHT: "classify"},
    bare="DeiTModel",
    prefix="deit.",
    read=_read,
    write=_write,
    tensors=_tensors,
    processor="DeiT",
)
