"""A plain causal model that an attacker runs on candidates: what a layer holds for each, after a known beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.weights import F32
from privinf.models.clear import Ranges
from privinf.models.decoder import extend
from privinf.models.decoder_checkpoint import load_decoder
from privinf.models.decoder_clear import ClearDecoder, Past
from privinf.models.decoder_fold import fold_decoder
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import F64

Site = Literal["inner", "residual"]
PIECE = 1024  # candidates at once


@dataclass
class _Inner(Ranges):
    """Keeps what the first linear layer of a feed-forward part gives."""

    name: str = ""
    value: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def see(self, site: str, x: torch.Tensor) -> None:
        if site == self.name:
            self.value = x


class CausalModel:
    """Weights once, for predictions by all layers and for candidates in the first few."""

    def __init__(self, folder: Path) -> None:
        self.spec, weights = load_decoder(folder)
        folded = {name: w.astype(np.float32) for name, w in fold_decoder(self.spec, weights).items()}
        self._weights = cast(dict[str, F64], folded)  # as_tensor shares float32 arrays

    def predictor(self) -> ClearDecoder:
        return ClearDecoder(self.spec, self._weights)

    def layer(self, count: int, site: Site) -> Layer:
        """Values inside the last of the first `count` layers, or the residual after them."""
        return Layer(replace(self.spec, layers=count), self._weights, site)

    def rows(self, ids: Sequence[int], count: int) -> F32:
        """The residual of a text after so many layers, (tokens, width)."""
        rows: F32 = self.layer(count, "residual").read(Past(), [list(ids)])[0]
        return rows


class Layer:
    """Runs the first layers and returns what is inside or behind the last of them."""

    def __init__(self, spec: DecoderSpec, weights: dict[str, F64], site: Site) -> None:
        self.spec = spec
        part = "gate" if spec.gated else "up"
        self._inner = _Inner(name=f"layer{spec.layers - 1}.ffn.{part}")
        self._decoder = ClearDecoder(spec, weights, self._inner if site == "inner" else None)
        self._site = site

    @torch.inference_mode()
    def read(self, past: Past, ids: Sequence[Sequence[int]]) -> F32:
        """Values (texts, tokens, values) of texts that follow the same past."""
        given = torch.tensor(ids)
        self._decoder.rewind(past[: self.spec.layers], len(given))
        residual = extend(self._decoder, self.spec, given)
        values: F32 = (self._inner.value if self._site == "inner" else residual).numpy()
        return values

    def candidates(self, past: Past, tokens: Ids) -> Iterator[F32]:
        """Values (tokens, values) of one more token each, in pieces."""
        for start in range(0, len(tokens), PIECE):
            yield self.read(past, tokens[start : start + PIECE, None].tolist())[:, 0]
