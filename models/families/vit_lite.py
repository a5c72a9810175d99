"""ViT-Lite as MPCViT has it: small transformers of images whose layers name their attention and their activation.

A block is x = x + Attn(LN(x)); x = LN(x); x = x + MLP(x). Its config.json is ours, with ViT's keys for sizes;
`attention` and `activation` are one name, or a list of one for each layer, which may be a list too: of one for each
head, or of one for each row, the class's first. Rows that are "linear" have nothing between the layers of their MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from privinf.errors import ModelError
from privinf.models.attention import VARIANTS
from privinf.models.families import Family
from privinf.models.families._common import blocks, classifier, even_heads
from privinf.models.families._encoders import READ_KEYS
from privinf.models.families._vision import BIASES, IMAGE_KEYS, UNUSED, patches, tensors, written
from privinf.models.functions import FUNCTIONS
from privinf.models.source.reading import Config, Keys, epsilon, size
from privinf.models.spec import BlockSpec, ModelSpec, Task
from privinf.protocols.registry import Registry

T = TypeVar("T")
STRAIGHT = "linear"  # no activation
READ = (READ_KEYS - {"hidden_act"}) | IMAGE_KEYS | {"attention", "activation"}


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    width, heads = size(config, "hidden_size", path), size(config, "num_attention_heads", path)
    image = patches(config, path)
    layers = len(blocks(BlockSpec(""), config, "num_hidden_layers", path))
    attention = [_heads(named, heads, path) for named in _each(config, "attention", path, layers, "softmax")]
    bends = [_rows(named, image.rows, path) for named in _each(config, "activation", path, layers, "gelu")]
    return ModelSpec(
        family="vit_lite",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=even_heads(width, heads, ("hidden_size", "num_attention_heads"), path),
        ffn=size(config, "intermediate_size", path),
        max_tokens=image.rows,
        order="vit_lite",
        norm="layer",
        eps=epsilon(config, "layer_norm_eps", path, 1e-5),
        blocks=tuple(
            BlockSpec(name, attention=each, straight=straight)
            for (name, straight), each in zip(bends, attention, strict=True)
        ),
        inputs=image,
        head=classifier(config, path, None),
        biases=BIASES,
    )


def _each(config: Config, key: str, path: Path, layers: int, default: str) -> list[object]:
    """What is said of each layer."""
    given = config.get(key, default)
    named = given if isinstance(given, list) else [given] * layers
    if len(named) != layers:
        raise ModelError(f"{path}: {key} names {len(named)} layers of {layers}")
    return named


def _heads(named: object, heads: int, path: Path) -> str | tuple[str, ...]:
    """The attention of a layer's heads: one name where they are alike."""
    names = named if isinstance(named, list) else [named] * heads
    if len(names) != heads:
        raise ModelError(f"{path}: attention names {len(names)} heads of {heads} in a layer")
    each = tuple(_known(name, "attention", VARIANTS, path) for name in names)
    return each[0] if len(set(each)) == 1 else each


def _rows(named: object, rows: int, path: Path) -> tuple[str, tuple[int, ...]]:
    """The activation of a layer, and the rows that go without it."""
    names = named if isinstance(named, list) else [named] * rows
    if len(names) != rows:
        raise ModelError(f"{path}: activation names {len(names)} rows of {rows} in a layer")
    each = [_known(name, "activation", FUNCTIONS, path) for name in names]
    bends = sorted({*each} - {STRAIGHT})
    if len(bends) > 1:
        raise ModelError(
            f"{path}: the rows of a layer bend by {' and '.join(bends)}: one activation is supported"
        )
    straight = tuple(place for place, name in enumerate(each) if name == STRAIGHT)
    return (bends or [STRAIGHT])[0], straight


def _activation(block: BlockSpec, rows: int) -> object:
    """As a config.json has it."""
    if len(block.straight) in (0, rows):
        return block.activation
    return [STRAIGHT if place in block.straight else block.activation for place in range(rows)]


def _known(name: object, key: str, known: Registry[T], path: Path) -> str:
    if not isinstance(name, str) or name not in known:
        raise ModelError(f"{path}: {key} {name!r} is not supported; accepted: {', '.join(known.names())}")
    return name


def _write(spec: ModelSpec) -> dict[str, object]:
    named = [block.attention for block in spec.blocks]
    attention = [list(each) if isinstance(each, tuple) else each for each in named]
    activations = [_activation(block, spec.max_tokens) for block in spec.blocks]
    return {**written(spec), "attention": _short(attention), "activation": _short(activations)}


def _short(each: Sequence[object]) -> object:
    """One name where all layers have it."""
    return each[0] if isinstance(each[0], str) and all(one == each[0] for one in each) else each


ENTRY = Family(
    keys=Keys("a vit_lite model", READ, harmless=UNUSED),
    classes={"ViTLiteForImageClassification": "classify"},
    bare="ViTLiteModel",
    prefix="vit_lite.",
    read=_read,
    write=_write,
    tensors=tensors,
    processor="ViT",
)
