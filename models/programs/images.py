"""Images as a client asks about them: cut into patches, as pixels or as rows that it makes itself; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.models.engines.weights import lifted
from privinf.models.plan.scales import PATCH
from privinf.models.programs import wire
from privinf.models.programs.layout import ImageLayout
from privinf.models.spec import Patches
from privinf.protocols import kernels, ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.ring import U64

F32 = npt.NDArray[np.float32]


def checked(images: object, image: Patches) -> F32:
    """Images as the plain model's processor gives them, (images, channels, height, width); InputError otherwise."""
    try:
        array: F32 = np.asarray(images, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError("images are an array of numbers, (images, channels, height, width)") from None
    wanted = (image.channels, image.height, image.width)
    if array.ndim != 4 or not len(array) or array.shape[1:] != wanted:
        raise InputError(f"images are of shape (images, {', '.join(map(str, wanted))}), not {array.shape}")
    if not np.isfinite(array).all():
        raise InputError("images contain values that are not finite numbers")
    return array


def cut(images: npt.NDArray[Any], image: Patches) -> npt.NDArray[Any]:
    """(images, patches, values): patches row by row, their values channel by channel."""
    across = image.width // image.patch_width
    split = images.reshape(len(images), image.channels, -1, image.patch_height, across, image.patch_width)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(len(images), image.count, image.values)


def lay_out(layout: ImageLayout, shape: QueryShape, images: F32, known: Mapping[str, U64]) -> wire.Values:
    """A query's values as they are shared; InputError for pixels that the model was not shared for.

    known: the tensors that rows of patches are made with, where everybody knows them.
    """
    layout.check(shape)
    pixels = cut(checked(images, layout.spec.patches), layout.spec.patches)
    _require_range(layout, pixels)
    encoded = ring.encode(pixels.astype(np.float64), layout.plan.scales.pixels)
    (field,) = layout.form(shape).shared
    values = _rows(layout, encoded, known) if layout.embedded else encoded
    return {field.name: ring.low(values, field.bits)}


def _require_range(layout: ImageLayout, pixels: F32) -> None:
    most = layout.most_pixel
    if (seen := float(np.abs(pixels).max())) >= most:
        raise InputError(
            f"pixels up to {seen:g}: this model was shared for less than {most:g}, as its processor scales them"
        )


def _rows(layout: ImageLayout, pixels: U64, known: Mapping[str, U64]) -> U64:
    """Rows of patches with their places: the integers that parties would compute with private weights."""
    scales = layout.plan.scales
    flat = pixels.reshape(1, -1, pixels.shape[-1])
    rows = kernels.default().ring_matmul(flat, known[PATCH][None], ring.MAX_BITS)
    places = lifted(known["embed.position"], scales.residual - scales.embed)
    return rows.reshape(*pixels.shape[:-1], -1) + places


def plain(layout: ImageLayout, shape: QueryShape, values: wire.Values) -> wire.Asked:
    """The query itself in place of shares, for the fixed interpreter."""
    return wire.plain(layout.form(shape), values)


def decode(layout: ImageLayout, shape: QueryShape, total: U64) -> F32:
    """What a sum of shares says: logits (batch, labels)."""
    field = layout.result(shape)
    logits: F32 = ring.decode(total, field.scale, field.bits)[:, 0].astype(np.float32)
    return logits
