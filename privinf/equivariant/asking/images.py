"""Images as a client asks about them: cut into patches, which are covered and change places; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.equivariant import wire
from privinf.equivariant.asking.own_part import client_part
from privinf.equivariant.asking.texts import MOST_BYTES, Batch, Read, batch_of, most_rows
from privinf.equivariant.key import Key, KeyAbout
from privinf.models.programs.images import checked, cut
from privinf.models.spec import Patches
from privinf.sdk.backend import Items
from privinf.sdk.options import Reading
from privinf.v1 import equivariant_pb2 as pb


class ImageSide:
    """The client's directory of a covered classifier of images."""

    def __init__(self, folder: Path, about: KeyAbout) -> None:
        spec, self.own = client_part(folder, about)
        self._image, self.says, self._rows = spec.patches, spec.classifier.says, most_rows(about)

    def read(self, images: Items, reading: Reading) -> Read:
        """Patches of each image; InputError for what the model cannot take."""
        return list(cut(checked(images, self._image), self._image))

    def batches(self, patches: Read, max_rows: int) -> Iterator[Batch]:
        """As many images as fit one request."""
        image = self._image
        rows, fit = min(max_rows, self._rows), MOST_BYTES // (4 * image.count * image.values)
        size = max(1, min(rows // (image.count + 1), fit))
        for start in range(0, len(patches), size):
            yield batch_of(range(len(patches))[start : start + size], patches)

    def query(self, batch: Batch, key: Key) -> pb.CoveredQuery:
        """What is sent where the server embeds: images of covered patches."""
        patches = np.stack(batch.items).astype(np.float64)
        if key.patches is not None:
            patches = patches @ key.patches
        pixels = _pixels(_placed(patches, key), self._image)
        return pb.CoveredQuery(id=key.about.id, images=wire.rows_message(pixels))

    def step(self, batch: Batch, key: Key) -> pb.CoveredStep:
        """What is sent where the client embeds: covered rows of patches."""
        assert self.own is not None
        assert key.hidden is not None
        rows = self.own.patch_rows(np.stack(batch.items).astype(np.float64)) @ key.hidden
        lengths = [self._image.count] * len(batch.places)
        return pb.CoveredStep(rows=wire.rows_message(_placed(rows, key)), lengths=lengths, pooling="cls")


def _pixels(patches: npt.NDArray[Any], image: Patches) -> npt.NDArray[Any]:
    """The images that such patches make up."""
    across = image.width // image.patch_width
    form = (len(patches), -1, across, image.channels, image.patch_height, image.patch_width)
    split = patches.reshape(form).transpose(0, 3, 1, 4, 2, 5)
    return split.reshape(len(patches), image.channels, image.height, image.width)


def _placed(rows: npt.NDArray[Any], key: Key) -> npt.NDArray[Any]:
    """Every patch at its covered place."""
    return rows if key.places is None else rows[:, np.argsort(key.places)]
