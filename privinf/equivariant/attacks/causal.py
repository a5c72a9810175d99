"""A plain causal model that an attacker runs on candidates: what a layer holds for each, after a known beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.weights import F32, first_part
from privinf.models.clear import ClearDecoder
from privinf.models.engines.clear import Past
from privinf.models.fold import F64, fold
from privinf.models.orders import pre
from privinf.models.source.checkpoint import load
from privinf.models.spec import ModelSpec
from privinf.models.transformer import attend

Site = Literal["inner", "between", "residual"]
PIECE = 1024  # candidates at once


class CausalModel:
    """Weights once, for predictions by all layers and for candidates in the first few."""

    def __init__(self, folder: Path) -> None:
        self.spec, weights = load(folder)
        folded = {name: w.astype(np.float32) for name, w in fold(self.spec, weights).items()}
        self._weights = cast(dict[str, F64], folded)  # as_tensor shares float32 arrays

    def predictor(self) -> ClearDecoder:
        return ClearDecoder(self.spec, self._weights)

    def layer(self, count: int, site: Site) -> Layer:
        """Of the last of the first `count` layers: its feed-forward part's inner values, or the residual before that
        part, or after it."""
        return Layer(replace(self.spec, blocks=self.spec.blocks[:count]), self._weights, site)

    def tokens(self) -> F32:
        """The rows of all tokens, (vocab, width)."""
        return np.asarray(self._weights["embed.token"], dtype=np.float32)

    def inner(self) -> tuple[F32, F32]:
        """What the first linear layer of the first feed-forward part does to a normed row: weights (width, values),
        bias."""
        name = f"layer0.ffn.{first_part(self.spec)}"
        weight = np.asarray(self._weights[f"{name}.weight"], dtype=np.float32)
        bias = self._weights.get(f"{name}.bias", np.zeros(weight.shape[1]))
        return weight, np.asarray(bias, dtype=np.float32)

    def rows(self, ids: Sequence[int], count: int) -> F32:
        """The residual of a text after so many layers, (tokens, width)."""
        return np.asarray(self.layer(count, "residual").read(Past(), [list(ids)])[0])


class Layer:
    """Runs the first layers and returns what is inside the last of them or behind it."""

    def __init__(self, spec: ModelSpec, weights: dict[str, F64], site: Site) -> None:
        self.spec, self._site, self._decoder = spec, site, ClearDecoder(spec, weights)

    @torch.inference_mode()
    def read(self, past: Past, ids: Sequence[Sequence[int]]) -> F32:
        """Values (texts, tokens, values) of texts that follow the same past."""
        given = torch.tensor(ids)
        self._decoder.rewind(past[: self.spec.layers], len(given))
        found = self._decoder.read(given) if self._site == "residual" else self._inside(given)
        return np.asarray(found)

    def _inside(self, given: torch.Tensor) -> torch.Tensor:
        """Before or inside the last feed-forward part: the rest of it is not computed, as candidates are many."""
        ops, model = self._decoder.begin(given)
        *before, last = model.layers
        x = pre.residual(ops, before)
        with ops.at(last.attention.label):
            x = ops.add(x, attend(ops, last.attention, ops.normalise(x, last.attention_norm)))
        if self._site == "between":
            return x
        with ops.at(last.ffn.label):
            return ops.linear(ops.normalise(x, last.ffn_norm), last.ffn.gate or last.ffn.up)

    def candidates(self, past: Past, tokens: Ids) -> Iterator[F32]:
        """Values (tokens, values) of one more token each, in pieces."""
        for start in range(0, len(tokens), PIECE):
            yield self.read(past, tokens[start : start + PIECE, None].tolist())[:, 0]
