"""Opens picture files: of any usual mode, upright, their size checked before anything is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from privinf.errors import FileError, InputError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 64_000_000  # of an image before it is scaled
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MODES = {1: "L", 3: "RGB"}  # by channels


def read_picture(path: Path, channels: int = 3) -> Image:
    """One picture with so many channels; InputError that names the file where it is none."""
    with reading(str(path), path):
        from PIL import Image

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=FORMATS)
        with opened as image:
            return upright(image, str(path), channels)


def upright(image: Image, name: str, channels: int = 3) -> Image:
    """A picture turned as its file says, in colours or in grey; InputError with this name where it is too large."""
    from PIL import ImageOps

    if image.width * image.height > MOST_PIXELS:
        raise InputError(f"{name}: {image.width} x {image.height} pixels, more than {MOST_PIXELS}")
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I") or turned.mode == "F":  # 16 bits and more: Pillow would cut them off
        turned = _to_bytes(turned)
    return turned.convert(MODES[channels])


def _to_bytes(image: Image) -> Image:
    """Of 16 bits or a float for each pixel, the upper 8."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    scale = 255.0 if image.mode == "F" and values.max(initial=0.0) <= 1 else 1 / 257
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


@contextmanager
def reading(name: str, path: Path | None = None) -> Iterator[None]:
    """Errors of Pillow as ours, which name what was read."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtra('images need Pillow: pip install "privinf[images]"') from error
    try:
        yield
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is no image that can be read ({error})") from None
    except (OSError, SyntaxError, TypeError, ValueError, EOFError) as error:
        if path is not None and isinstance(error, OSError) and error.errno is not None:
            raise FileError.unread(path, error) from None
        raise InputError(f"{name} is damaged ({error})") from None
