"""Pictures that ranges are measured on: made, with the statistics of photographs and what goes beyond.

The brightness of natural images has a spectrum that falls with frequency; noise of that spectrum, in colours that go
together, stands for photographs. Besides, there is what no photograph is: one colour, hard edges, and white noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privinf.models.source.processor import ImageRules
from privinf.models.spec import Patches

F32 = npt.NDArray[np.float32]
PICTURES, SEED = 96, 20231006
SLOPES = (0.6, 1.0, 1.4)  # of amplitude against frequency, the usual one in the middle
MIX = 0.35  # of a channel that is its own


def beside(rules: ImageRules, image: Patches, own: F32 | None) -> F32:
    """Pixels that ranges are measured on: the owner's with odd ones, or all that is made."""
    sizes = (image.channels, image.height, image.width)
    made = pictures(*sizes) if own is None else np.stack(odd(*sizes))
    pixels = rules.scaled(255 * made)
    return pixels if own is None else np.concatenate((own, pixels))


def pictures(channels: int, height: int, width: int) -> F32:
    """Values from 0 to 1 (pictures, channels, height, width), the same each time."""
    draw = np.random.default_rng(SEED)
    natural = [_natural(draw, channels, height, width, SLOPES[i % len(SLOPES)]) for i in range(PICTURES)]
    return np.stack([*natural, *odd(channels, height, width)]).astype(np.float32)


def _natural(draw: np.random.Generator, channels: int, height: int, width: int, slope: float) -> F32:
    """Noise whose amplitude falls with frequency, of a mean and contrast of its own."""
    grey = _noise(draw, height, width, slope)
    own = np.stack([_noise(draw, height, width, slope) for _ in range(channels)])
    field = (1 - MIX) * grey + MIX * own
    mean, contrast = draw.uniform(0.2, 0.8, (channels, 1, 1)), draw.uniform(0.08, 0.35)
    made: F32 = np.clip(mean + contrast * field / field.std(), 0, 1).astype(np.float32)
    return made


def _noise(draw: np.random.Generator, height: int, width: int, slope: float) -> npt.NDArray[np.float64]:
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = 1 / max(height, width)
    spectrum = np.fft.fft2(draw.standard_normal((height, width))) / frequency**slope
    spectrum[0, 0] = 0
    field: npt.NDArray[np.float64] = np.fft.ifft2(spectrum).real
    return field / (field.std() or 1.0)


def odd(channels: int, height: int, width: int) -> list[F32]:
    """What owners' own images seldom are, so that these are looked at beside them."""
    draw, shape = np.random.default_rng(SEED + 1), (channels, height, width)
    rows, columns = np.indices((height, width))
    flat = [np.full(shape, value) for value in (0.0, 0.5, 1.0)]
    single = [np.broadcast_to(np.eye(channels)[i][:, None, None], shape) for i in range(channels)]
    sides = [
        (rows >= height // 2),
        (columns >= width // 2),
        (rows + columns) % 2,
        (rows // 4 + columns // 4) % 2,
    ]
    edges = [np.broadcast_to(side.astype(np.float64), shape) for side in sides]
    slope = np.broadcast_to((rows + columns) / max(height + width - 2, 1), shape)
    noise = [draw.uniform(0, 1, shape), draw.integers(0, 2, shape)]
    return [np.asarray(one, dtype=np.float32) for one in (*flat, *single, *edges, slope, *noise)]
