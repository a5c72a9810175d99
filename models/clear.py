"""The clear interpreter: float32 PyTorch; the oracle of every other one, and the source of ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import MissingExtra
from privinf.models.fold import RELATIVE
from privinf.models.relative import buckets

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise MissingExtra('the clear interpreter needs torch: pip install "privinf[models]"') from error

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


@dataclass
class ClearQuery:
    """Token ids (batch, tokens), and which of them are real."""

    ids: torch.Tensor
    real: torch.Tensor
    pad_score: float = -1e4


@dataclass
class Ranges:
    """Smallest and largest magnitude seen at each site, over all calibration text."""

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)

    def see(self, site: str, x: torch.Tensor) -> None:
        magnitude = x.detach().abs()
        self.low[site] = min(self.low.get(site, np.inf), float(magnitude.min()))
        self.high[site] = max(self.high.get(site, 0.0), float(magnitude.max()))


class Clear:
    """Folded weights in float32; records ranges where a recorder is given."""

    def __init__(
        self, weights: Mapping[str, npt.NDArray[Any]], eps: float, ranges: Ranges | None = None
    ) -> None:
        self._weights = {name: torch.as_tensor(w, dtype=torch.float32) for name, w in weights.items()}
        self._eps = eps
        self._ranges = ranges
        self._hidden = torch.zeros(())  # what is added to the scores of padding
        self._real = torch.ones(())
        self._scope: list[str] = []

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self._scope.append(name)
        yield
        self._scope.pop()

    def _name(self, name: str) -> str:
        return ".".join((*self._scope, name))

    def _see(self, site: str, x: torch.Tensor) -> torch.Tensor:
        if self._ranges is not None:
            self._ranges.see(self._name(site), x)
        return x

    def _weight(self, name: str) -> torch.Tensor:
        return self._weights[self._name(name)]

    def embed(self, query: ClearQuery) -> torch.Tensor:
        self._real = query.real.float()
        self._hidden = torch.where(query.real, 0.0, query.pad_score)[:, None, None, :]
        rows = self._weight("token")[query.ids] + self._weight("position")[: query.ids.shape[1]]
        return self.normalise(rows)

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        self._see("centred", x)
        square = self._see("square", x.square().mean(-1, keepdim=True))
        return x * torch.rsqrt(square + self._eps)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self._see(name, x @ self._weight(f"{name}.weight") + self._weight(f"{name}.bias"))

    def skip(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return y + x * self._weight("skip.gain") - x @ self._weight("skip.mean")

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        relative: bool,
    ) -> torch.Tensor:
        q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(-1, -2)
        scores = self._see("scores", self._placed(scores) if relative else scores)
        scores = scores + self._hidden
        weights = torch.exp2(scores - scores.amax(-1, keepdim=True))
        attended = self._see("attended", torch.div(weights @ v, weights.sum(-1, keepdim=True)))
        batch, _, tokens, _ = attended.shape
        return attended.transpose(1, 2).reshape(batch, tokens, -1)

    def _placed(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores with what relative positions add."""
        places = torch.from_numpy(buckets(scores.shape[-1]))
        return scores + self._weights[RELATIVE][places].permute(2, 0, 1)

    def activate(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return ACTIVATIONS[name](x)

    def pool(self, x: torch.Tensor, first: bool) -> torch.Tensor:
        pooled = self._see("pooled", self.first(x) if first else self._mean(x))
        return self._see("result", pooled * self._weight("gain") + self._weight("bias"))

    def _mean(self, x: torch.Tensor) -> torch.Tensor:
        """Of the real rows."""
        total = (self._real[..., None] * x).sum(1, keepdim=True)
        return torch.div(total, self._real.sum(-1)[:, None, None])

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def first(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


def clear_query(ids: list[npt.NDArray[np.int32]], tokens: int, pad: int = 0) -> ClearQuery:
    """Pad token ids to a length bucket with token `pad`; padding takes no part in attention or in means."""
    table = torch.full((len(ids), tokens), pad, dtype=torch.long)
    real = torch.zeros((len(ids), tokens), dtype=torch.bool)
    for row, tokens_of_text in enumerate(ids):
        table[row, : len(tokens_of_text)] = torch.as_tensor(tokens_of_text, dtype=torch.long)
        real[row, : len(tokens_of_text)] = True
    return ClearQuery(table, real)
