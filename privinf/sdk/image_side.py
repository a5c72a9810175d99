"""A model of images as a client holds it: pictures become pixels, and these the shares of queries; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from privinf.errors import OptionError
from privinf.models.programs import images as wire
from privinf.models.programs.layout import MAX_ROWS, ImageLayout
from privinf.models.programs.wire import Values
from privinf.models.sharing.bundle import of_patches, read_queries
from privinf.models.source.processor import read_rules
from privinf.options import changed
from privinf.protocols import ring
from privinf.protocols.contract import QueryShape
from privinf.sdk.answers import F32
from privinf.sdk.options import Reading
from privinf.sdk.pictures import listed, pixels_of

TOGETHER = 256  # rows of one query at most, as of texts; one image always goes


@dataclass(frozen=True)
class ImageRequest:
    """One query: its public shape, the places of its pictures, and what is shared of them."""

    shape: QueryShape
    places: tuple[int, ...]
    values: Values = field(repr=False)


class ImageSide:
    """The client's directory of a shared model of images."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.bundle = read_queries(directory, "client")
        assert isinstance(self.bundle.layout, ImageLayout)
        self._layout, self._known = self.bundle.layout, of_patches(self.bundle)
        self._rules = read_rules(directory, self.bundle.spec)

    def read(self, pictures: object, reading: Reading) -> F32:
        """Pixels of each picture; InputError for one that the model cannot take."""
        if asked := changed(reading):
            raise OptionError(f"{', '.join(asked)}: this is for texts, and this model takes images")
        return pixels_of(listed(pictures), self._rules, self.bundle.spec.patches)

    def requests(self, task: str, pictures: object, reading: Reading) -> Iterator[ImageRequest]:
        """The queries that pictures are asked in, several of them together where they are small."""
        self._layout.check_task(task)
        pixels = self.read(pictures, reading)
        return self._cut(task, pixels)

    def shares(self, request: ImageRequest) -> tuple[bytes, ...]:
        """Each party's share of a query."""
        return self.bundle.scheme.share(self._layout.form(request.shape), request.values)

    def decode(self, request: ImageRequest, parts: Sequence[bytes]) -> F32:
        """The answer of a query."""
        field_ = self._layout.result(request.shape)
        total = self.bundle.scheme.add_up(field_, parts)
        rows = ring.decode(total, field_.scale, field_.bits).astype(np.float32)
        return rows.reshape(request.shape.batch, -1)

    def rows(self, pictures: int) -> F32:
        """Room for so many answers."""
        return np.empty((pictures, self.bundle.spec.answer_width), dtype=np.float32)

    def _cut(self, task: str, pixels: F32) -> Iterator[ImageRequest]:
        rows = self._layout.max_tokens
        at_most = max(min(TOGETHER, MAX_ROWS) // rows, 1)
        for start in range(0, len(pixels), at_most):
            some = pixels[start : start + at_most]
            shape = QueryShape(task, len(some), rows)
            values = wire.lay_out(self._layout, shape, some, self._known)
            yield ImageRequest(shape, tuple(range(start, start + len(some))), values)
