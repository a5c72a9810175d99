"""Pictures as a model takes them: files, Pillow's images and arrays, resized and scaled as its processor says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, Union

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.formats.pictures import MODES, MOST_PIXELS, read_picture, reading, upright
from privinf.models.programs.images import checked
from privinf.models.source.processor import FILTERS, ImageRules, read_rules
from privinf.models.spec import ModelSpec, Patches

if TYPE_CHECKING:
    from PIL.Image import Image

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
# Of arrays: (height, width, channels) or (height, width), of bytes
Picture = Union[str, "os.PathLike[str]", "Image", U8]
# Or pixels (pictures, channels, height, width), as the processor gives them
Pictures = Picture | Iterable[Picture] | F32


def listed(items: object) -> list[Any] | F32:
    """One picture or several as a list; pixels as they are."""
    if isinstance(items, np.ndarray) and items.dtype != np.uint8:
        return items.astype(np.float32)
    if isinstance(items, str | os.PathLike) or _is_image(items):
        return [items]
    if isinstance(items, np.ndarray):
        return list(items) if items.ndim == 4 else [items]
    if isinstance(items, bytes) or not isinstance(items, Iterable):
        raise InputError(
            f"a picture or a list of pictures is needed (paths, Pillow images or arrays), not {type(items).__name__}"
        )
    return list(items)


def pixels_of(pictures: Sequence[Any] | F32, rules: ImageRules, image: Patches) -> F32:
    """Pixels (pictures, channels, height, width); InputError that names the first picture that is none."""
    if isinstance(pictures, np.ndarray):
        return checked(pictures, image)
    made = [_bytes_of(one, place, rules, image) for place, one in enumerate(pictures)]
    return rules.scaled(np.stack(made)) if made else np.zeros((0, *_sizes(image)), np.float32)


def _sizes(image: Patches) -> tuple[int, int, int]:
    return image.channels, image.height, image.width


def _bytes_of(picture: object, place: int, rules: ImageRules, image: Patches) -> U8:
    """8-bit values (channels, height, width) of the size that the model takes."""
    if image.channels not in MODES:
        raise InputError(f"this model takes images of {image.channels} channels: give pixels as an array")
    opened = _opened(picture, place, image.channels)
    fitted = _cropped(_resized(opened, _name(picture, place), rules), rules)
    if (fitted.height, fitted.width) != (image.height, image.width):
        raise InputError(
            f"{_name(picture, place)}: {fitted.width} x {fitted.height} pixels, where this model takes "
            f"{image.width} x {image.height} and its processor does not resize"
        )
    values = np.asarray(fitted, dtype=np.uint8)
    return np.ascontiguousarray(np.atleast_3d(values).transpose(2, 0, 1))


def _opened(picture: object, place: int, channels: int) -> Image:
    name = _name(picture, place)
    if isinstance(picture, str | os.PathLike):
        return read_picture(Path(picture), channels)
    with reading(name):
        from PIL import Image

        if _is_image(picture):
            return upright(picture, name, channels)
        if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim in (2, 3):
            return upright(Image.fromarray(picture), name, channels)
    raise InputError(
        f"{name} must be a path, a Pillow image, or an array of bytes (height, width, channels), "
        f"not {type(picture).__name__}"
    )


def _name(picture: object, place: int) -> str:
    return str(picture) if isinstance(picture, str | os.PathLike) else f"picture {place}"


def _is_image(picture: object) -> TypeGuard[Image]:
    """Without Pillow nobody has one."""
    try:
        from PIL import Image
    except ImportError:
        return False
    return isinstance(picture, Image.Image)


def _resized(picture: Image, name: str, rules: ImageRules) -> Image:
    """To height and width, or its shorter side to so many pixels, the other one rounded down.

    InputError where a picture is so narrow that this would be a large one.
    """
    if rules.resize is None:
        return picture
    if isinstance(rules.resize, int):
        short = min(picture.width, picture.height)
        width, height = (int(rules.resize * side / short) for side in picture.size)
        if width * height > MOST_PIXELS:
            raise InputError(f"{name}: {picture.width} x {picture.height} pixels are too narrow to be scaled")
    else:
        height, width = rules.resize
    return picture.resize((width, height), resample=_filter(rules.filter))


def _filter(name: str) -> int:
    return FILTERS.index(name)


def _cropped(picture: Image, rules: ImageRules) -> Image:
    """The middle, as transformers rounds its corner."""
    if rules.crop is None:
        return picture
    height, width = rules.crop
    top, left = (picture.height - height) // 2, (picture.width - width) // 2
    return picture.crop((left, top, left + width, top + height))


def pictures_in(folder: Path, model: Path, spec: ModelSpec) -> F32:
    """Pixels of all pictures of a folder and of those in it, as the model's processor gives them."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of pictures")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no pictures")
    return pixels_of(files, read_rules(model, spec), spec.patches)
