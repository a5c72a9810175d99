"""Models in the clear: folded weights in float32, for what private answers are compared with and for ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import MissingExtra
from privinf.models.asking import ask
from privinf.models.engines.observers import Ranges
from privinf.models.fold import F64
from privinf.models.orders import pre
from privinf.models.parts import Model, build
from privinf.models.spec import ModelSpec

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
        given = _embedded(self._weights, table, 0)
        with torch.inference_mode():
            return _answer(ClearOps(self._weights, given, real=real, observer=self._observer), self._model)


class ClearDecoder:
    """A decoder, and a cache that `run` extends; records ranges where a recorder is given."""

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
            return pre.residual(*self.begin(ids))

    def rewind(self, past: Past, batch: int = 1) -> None:
        """Begin again from a cache of one row."""
        self.past = [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in past]

    def begin(self, ids: torch.Tensor) -> tuple[ClearOps, Model]:
        """A pass over ids (batch, tokens): its engine, and the model's parts."""
        given = _embedded(self._weights, ids, self.slots)
        return ClearOps(self._weights, given, past=self.past, observer=self._observer), self._model


def _embedded(weights: Mapping[str, torch.Tensor], ids: torch.Tensor, start: int) -> torch.Tensor:
    """Rows of tokens, and of their positions from `start` on where those have a table."""
    rows = weights["embed.token"][ids]
    places = weights.get("embed.position")
    return rows if places is None else rows + places[start : start + ids.shape[1]]


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
