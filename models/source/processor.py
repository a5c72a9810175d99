"""Reads preprocessor_config.json: what becomes of a picture before it is what a model of images takes; no Pillow."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import ModelError
from privinf.models.families import FAMILIES
from privinf.models.source.reading import Config, Fixed, Keys, flag, read_object, size
from privinf.models.spec import ModelSpec, Patches

F32 = npt.NDArray[np.float32]
FILE = "preprocessor_config.json"
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # as Pillow numbers them
# What transformers' classes do where the file does not say.
DEFAULTS: Mapping[str, Config] = {
    "ViT": {"size": 224, "resample": 2, "do_center_crop": False},
    "DeiT": {"size": 256, "resample": 3, "do_center_crop": True, "crop_size": 224},
}
EVERYWHERE: Config = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "image_mean": 0.5,
    "image_std": 0.5,
}
NAMES = ("image_processor_type", "feature_extractor_type")
ENDINGS = ("ImageProcessor", "ImageProcessorFast", "FeatureExtractor")
READ = {*EVERYWHERE, *NAMES, "size", "resample", "do_center_crop", "crop_size"}
FIXED: Fixed = {
    "do_pad": (False, None),
    "pad_size": (None,),
    "input_data_format": (None,),
    "do_convert_rgb": (True, None, False),  # colours are made what the model has in any case
}
HARMLESS = {
    "processor_class",
    "return_tensors",
    "data_format",
    "device",
    "default_to_square",
    "disable_grouping",
}
KEYS = Keys("ViT's and DeiT's image processors", READ, FIXED, HARMLESS)


@dataclass(frozen=True)
class ImageRules:
    """What becomes of a picture.

    resize: to height and width, or its shorter side to so many; none where it is not resized. filter: one of FILTERS.
    crop: height and width of the middle that is kept. factor: of 8-bit values, before mean and std of each channel.
    """

    resize: tuple[int, int] | int | None
    filter: str
    crop: tuple[int, int] | None
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def scaled(self, pictures: npt.NDArray[Any]) -> F32:
        """Pixels of 8-bit values (pictures, channels, height, width), rounded as transformers rounds them."""
        scaled = (pictures.astype(np.float64) * self.factor).astype(np.float32)
        mean, std = (np.array(part, dtype=np.float32)[:, None, None] for part in (self.mean, self.std))
        pixels: F32 = (scaled - mean) / std
        return pixels

    @property
    def most(self) -> float:
        """The largest magnitude of a pixel."""
        ends = [
            abs(end * self.factor - m) / s
            for m, s in zip(self.mean, self.std, strict=True)
            for end in (0, 255)
        ]
        return max(ends)


def read_rules(directory: str | os.PathLike[str], spec: ModelSpec) -> ImageRules:
    """The rules of a model's directory; ModelError for what they cannot mean, or where they make other images."""
    path = Path(directory) / FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: save the model's image processor too (save_pretrained)")
    config = read_object(path)
    KEYS.check(config, path)
    image, said = spec.patches, {**EVERYWHERE, **DEFAULTS[_kind(config, spec, path)], **_given(config)}

    def asked(key: str) -> bool:
        return flag(said, key, path, False)

    rules = ImageRules(
        _size(said, path) if asked("do_resize") else None,
        _filter(said, path),
        _pair(said, "crop_size", path) if asked("do_center_crop") else None,
        _positive(said["rescale_factor"], "rescale_factor", path) if asked("do_rescale") else 1.0,
        *_scales(said, image, path),
    )
    _require_fit(rules, image, path)
    return rules


def _given(config: Config) -> Config:
    """What the file says, as transformers takes null: a step is not taken then, and a size is the usual one."""
    steps = {key: False for key, value in config.items() if value is None and key.startswith("do_")}
    return {key: value for key, value in config.items() if value is not None} | steps


def _kind(config: Config, spec: ModelSpec, path: Path) -> str:
    """Whose defaults hold: the class that is named, or else that of the model's family."""
    names = [config[key] for key in NAMES if config.get(key) is not None]
    if not names:
        return FAMILIES[spec.family].processor
    for kind in DEFAULTS:
        if names[0] in [kind + ending for ending in ENDINGS]:
            return kind
    raise ModelError(
        f"{path}: {names[0]!r} is not supported; accepted: {', '.join(k + ENDINGS[0] for k in DEFAULTS)}"
    )


def _size(said: Config, path: Path) -> tuple[int, int] | int:
    given = said["size"]
    if isinstance(given, dict) and set(given) == {"shortest_edge"}:
        return size(given, "shortest_edge", path)
    return _pair(said, "size", path)


def _pair(said: Config, key: str, path: Path) -> tuple[int, int]:
    """Height and width, which a number alone means both of."""
    given = said[key]
    if isinstance(given, dict):
        if set(given) != {"height", "width"}:
            raise ModelError(f"{path}: {key} {given!r} is not supported; accepted: a height and a width")
        return size(given, "height", path), size(given, "width", path)
    return size(said, key, path), size(said, key, path)


def _filter(said: Config, path: Path) -> str:
    given = said["resample"]
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < len(FILTERS):
        raise ModelError(f"{path}: resample {given!r} is not supported; accepted: 0 to {len(FILTERS) - 1}")
    return FILTERS[given]


def _scales(said: Config, image: Patches, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel; without normalising they change nothing."""
    if not flag(said, "do_normalize", path, True):
        return (0.0,) * image.channels, (1.0,) * image.channels
    mean = _channels(said["image_mean"], "image_mean", image, path)
    std = _channels(said["image_std"], "image_std", image, path)
    return mean, tuple(_positive(value, "image_std", path) for value in std)


def _channels(given: object, key: str, image: Patches, path: Path) -> tuple[float, ...]:
    each = given if isinstance(given, list) else [given] * image.channels
    if len(each) != image.channels:
        raise ModelError(
            f"{path}: {key} names {len(each)} channels, where config.json's model has {image.channels}"
        )
    return tuple(_number(value, key, path) for value in each)


def _number(value: object, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(f"{path}: {key} must be a number, not {value!r}")
    return float(value)


def _positive(value: object, key: str, path: Path) -> float:
    number = _number(value, key, path)
    if number <= 0:
        raise ModelError(f"{path}: {key} must be above zero, not {number:g}")
    return number


def _require_fit(rules: ImageRules, image: Patches, path: Path) -> None:
    """Refuse rules that make images of a size that the model does not take."""
    wanted, made = (image.height, image.width), rules.crop or rules.resize
    if isinstance(made, tuple) and made != wanted:
        raise ModelError(f"{path} makes images of {made}, where config.json's model takes {wanted}")
    if isinstance(made, int):
        raise ModelError(
            f"{path}: size {{'shortest_edge': {made}}} without do_center_crop makes images of any size"
        )
    least = (rules.resize,) * 2 if isinstance(rules.resize, int) else rules.resize
    if rules.crop and least and (least[0] < rules.crop[0] or least[1] < rules.crop[1]):
        raise ModelError(
            f"{path}: crop_size {rules.crop} is larger than size {least}, which is not supported"
        )
