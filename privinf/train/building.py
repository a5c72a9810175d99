"""From a recipe and its images to what is trained: the specification, the split of images, and the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from privinf.errors import ConfigError
from privinf.models.spec import BlockSpec, Classifier, ModelSpec, Patches
from privinf.train.architecture import Architecture, parse, uniform
from privinf.train.augment import Scale
from privinf.train.data import ImageSet
from privinf.train.data_sets import open_images
from privinf.train.randomness import number
from privinf.train.recipe import Data, Recipe

EPS = 1e-5
STRAIGHT = "linear"  # no activation
BIASES = frozenset(("out", "ffn", "norm", "head"))


@dataclass(frozen=True)
class Images:
    """Images in their parts: `validation` is cut from those to train on, or empty."""

    whole: ImageSet
    validation: ImageSet | None
    scale: Scale

    @property
    def train(self) -> ImageSet:
        return self.whole if self.validation is None else self.validation


def images_of(settings: Data, seed: int, tick: Callable[[int], None] = lambda done: None) -> Images:
    """The data set, fewer images of it, or images of which some are for validation: the seed says which."""
    found = open_images(settings.set, (settings.size,) * 2, tick)
    if found.size != (settings.size,) * 2:
        raise ConfigError(
            f"images of {settings.set} have {found.size[0]} x {found.size[1]} pixels: set data.size to that"
        )
    if settings.limit and settings.limit < len(found.train):
        chosen = np.random.default_rng(number(seed, "limit")).permutation(len(found.train))
        found = replace(found, train=found.train.at(np.sort(chosen[: settings.limit])))
    scale = Scale(*found.mean_and_deviation())
    held = found.held_out(settings.validation, number(seed, "validation")) if settings.validation else None
    return Images(found, held, scale)


def architecture_of(recipe: Recipe, name: str | None, images: ImageSet) -> Architecture:
    """By its name, or all layers alike as the recipe says."""
    shape = recipe.model
    if name is None:
        return uniform(shape.layers, shape.heads, shape.attention, shape.activation)
    return parse(name, shape.layers, shape.heads, _patches(recipe, images).count + 1)


def _blocks(architecture: Architecture, rows: int) -> tuple[BlockSpec, ...]:
    """Layer by layer; what is the same in all heads is named once, and rows without an activation are listed."""
    made = []
    for heads, bend in zip(architecture.heads, architecture.bends, strict=True):
        bends = (bend,) * rows if isinstance(bend, str) else bend
        bent = sorted({*bends} - {STRAIGHT})
        if len(bent) > 1:
            raise ConfigError(f"the rows of a layer have one activation, or none: not {' and '.join(bent)}")
        straight = tuple(place for place, name in enumerate(bends) if name == STRAIGHT)
        attention = heads if len(set(heads)) > 1 else heads[0]
        made.append(BlockSpec((bent or [STRAIGHT])[0], attention=attention, straight=straight))
    return tuple(made)


def _patches(recipe: Recipe, images: ImageSet) -> Patches:
    shape, (height, width) = recipe.model, images.size
    if height % shape.patch or width % shape.patch:
        raise ConfigError(
            f"images of {height} x {width} pixels are not cut into patches of {shape.patch}: change model.patch"
        )
    return Patches(height, width, shape.patch, shape.patch, images.channels)


def spec_of(recipe: Recipe, images: ImageSet, architecture: Architecture) -> ModelSpec:
    """The model that a recipe describes, for these images and classes."""
    shape, patches = recipe.model, _patches(recipe, images)
    return ModelSpec(
        family=shape.family,
        width=shape.width,
        heads=shape.heads,
        kv_heads=shape.heads,
        head_width=shape.width // shape.heads,
        ffn=shape.ffn,
        max_tokens=patches.count + 1,
        order=shape.family,
        norm="layer",
        eps=EPS,
        blocks=_blocks(architecture, patches.count + 1),
        inputs=patches,
        head=Classifier(images.classes),
        biases=BIASES,
    )
