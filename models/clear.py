"""Models in the clear: folded weights in float32, for what private answers are compared with and for ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import MissingExtra
from privinf.models.asking import ask
from privinf.models.engines.observers import Ranges
from privinf.models.engines.positions import Places
from privinf.models.fold import F64
from privinf.models.orders import pre
from privinf.models.parts import FRONT, Model, build
from privinf.models.plan.scales import PATCH
from privinf.models.spec import ModelSpec, Patches

try:
    import torch

    from privinf.models.engines.clear import ClearOps, Past
except ImportError as error:
    raise MissingExtra('the clear interpreter needs torch: pip install "privinf[models]"') from error


class ClearEncoder:
    """An encoder; records ranges where a recorder is given."""

    def __init__(
        self, spec: ModelSpec, weights: Mapping[str, npt.NDArray[Any]], observer: Ranges | None = None
    ) -> None:
        self._model, self._observer = build(spec), observer
        self._weights = _tensors(weights)

    def run(self, ids: Sequence[npt.NDArray[np.int32]], tokens: int) -> torch.Tensor:
        """Embeddings (batch, 1, width) or logits (batch, 1, labels) of texts that are padded to a length bucket.

        Padding takes no part in attention or in means.
        """
        table = torch.full((len(ids), tokens), self._model.spec.tokens.pad, dtype=torch.long)
        real = torch.zeros((len(ids), tokens), dtype=torch.bool)
        for row, text in enumerate(ids):
            table[row, : len(text)] = torch.as_tensor(text, dtype=torch.long)
            real[row, : len(text)] = True
        given = _embedded(self._weights, table, np.arange(tokens))
        with torch.inference_mode():
            return _answer(ClearOps(self._weights, given, real=real, observer=self._observer), self._model)


class ClearImages:
    """A model of images; records ranges where a recorder is given."""

    def __init__(
        self, spec: ModelSpec, weights: Mapping[str, npt.NDArray[Any]], observer: Ranges | None = None
    ) -> None:
        self._model, self._observer = build(spec), observer
        self._weights = _tensors(weights)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1, labels) of images (batch, channels, height, width) as the model's processor gives them."""
        with torch.inference_mode():
            given = embedded_patches(self._weights, pixels, self._model.spec.patches)
            return _answer(ClearOps(self._weights, given, observer=self._observer), self._model)


class ClearDecoder:
    """A decoder, and a cache that `run` extends; records ranges where a recorder is given.

    Prompts of different lengths stand side by side with padding in front, which `pad` tells.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, F64],
        observer: Ranges | None = None,
        cache: str = "full",
    ) -> None:
        self.spec, self.past = spec, Past()
        self._model, self._observer = build(spec, cache=cache), observer
        self._weights = _tensors(weights)
        self._first = 0  # the slot behind which padding stands
        self._padding: Places | None = None

    @property
    def slots(self) -> int:
        """How many keys are in the cache."""
        return self.past[0][0].shape[2] if self.past else 0

    def run(self, ids: torch.Tensor, rows: int | None = None) -> torch.Tensor:
        """Logits (batch, rows, vocab) of the last `rows` of ids (batch, tokens); all without a number."""
        with torch.inference_mode():
            return _answer(*self.begin(ids), rows)

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Extend the cache alone; the residual behind the last layer (batch, tokens, width)."""
        with torch.inference_mode():
            ops, model = self.begin(ids)
            return pre.residual(ops, model.layers)

    def rewind(self, past: Past, batch: int = 1) -> None:
        """Begin again from a cache of one row."""
        self.past = [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in past]
        self._padding = None

    def pad(self, padding: Sequence[int]) -> None:
        """Of what is read from here on, so many rows are padding in front, of each of the batch."""
        self._first, self._padding = self.slots, np.array(padding, dtype=np.int64)[:, None]

    def begin(self, ids: torch.Tensor) -> tuple[ClearOps, Model]:
        """A pass over ids (batch, tokens): its engine, and the model's parts."""
        slots, start = np.arange(self.slots + ids.shape[1]), self.slots
        places, real = slots, None
        if self._padding is not None:
            places = np.maximum(slots - self._padding, np.minimum(slots, self._first))
            real = torch.from_numpy((slots < self._first) | (slots >= self._first + self._padding))
        places = places[..., start:]
        given = _embedded(self._weights, ids, places)
        ops = ClearOps(
            self._weights, given, real=real, past=self.past, places=places, observer=self._observer
        )
        return ops, self._model


def _embedded(weights: Mapping[str, torch.Tensor], ids: torch.Tensor, places: Places) -> torch.Tensor:
    """Rows of tokens, and of their positions where those have a table."""
    rows, table = weights["embed.token"][ids], weights.get("embed.position")
    return rows if table is None else rows + table[torch.from_numpy(places)]


def embedded_patches(
    weights: Mapping[str, torch.Tensor], pixels: torch.Tensor, image: Patches
) -> torch.Tensor:
    """Rows of images (batch, rows, width): those before patches, then theirs, row by row."""
    front = [weights[name].expand(len(pixels), -1, -1) for name in FRONT[: image.front]]
    return torch.cat((*front, cut(pixels, image) @ weights[PATCH] + weights["embed.position"]), 1)


def cut(pixels: torch.Tensor, image: Patches) -> torch.Tensor:
    """Patches (batch, patches, values) of images, values channel by channel."""
    across = image.width // image.patch_width
    split = (len(pixels), image.channels, -1, image.patch_height, across, image.patch_width)
    return pixels.reshape(split).permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), image.count, image.values)


def _answer(ops: ClearOps, model: Model, rows: int | None = None) -> torch.Tensor:
    answer = ask(ops, model, rows)
    assert answer is not None
    return answer


def prefix_cache(
    spec: ModelSpec, weights: Mapping[str, F64], prefix: Sequence[int], cache: str = "full"
) -> Past:
    """Keys and values of a prefix, read in one pass; none for an empty one."""
    decoder = ClearDecoder(spec, weights, cache=cache)
    if prefix:
        decoder.read(torch.tensor([list(prefix)]))
    return decoder.past


def _tensors(weights: Mapping[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(w, dtype=torch.float32) for name, w in weights.items()}
