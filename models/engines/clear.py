"""The clear engine: float32 PyTorch over tensors or leaf parameters; the oracle of the others, the source of ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from privinf.errors import MissingExtra
from privinf.models.engines.observers import Ranges
from privinf.models.engines.positions import Places, turns
from privinf.models.engines.relative import buckets
from privinf.models.functions import FUNCTIONS
from privinf.models.ops import Heads, View
from privinf.models.parts import Attention, FeedForward, Head, Linear, Norm, Skip
from privinf.models.spec import Rotary

try:
    import torch
except ImportError as error:
    raise MissingExtra('the clear interpreter needs torch: pip install "privinf[models]"') from error

Past = list[
    tuple[torch.Tensor, torch.Tensor]
]  # of each layer: keys and values (batch, kv heads, slots, width)


class ClearOps:
    """Implements models.ops.Ops[torch.Tensor, torch.Tensor], for one pass.

    given: what the first layer takes (batch, rows, width). real: which slots are real (batch, slots); padding is hidden
    from all but itself. past: what earlier passes left, which this one extends; with it, a row sees none that come
    after. places: where its rows stand (rows,), or (batch, rows).
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        given: torch.Tensor,
        *,
        real: torch.Tensor | None = None,
        past: Past | None = None,
        places: Places | None = None,
        observer: Ranges | None = None,
    ) -> None:
        self._weights, self._given = weights, given
        self._real, self._past, self._places, self._observer = real, past, places, observer
        self._site = ""

    @contextmanager
    def at(self, label: str) -> Iterator[None]:
        before, self._site = self._site, label.replace("/", ".")
        yield
        self._site = before

    def _see(self, what: str, x: torch.Tensor) -> torch.Tensor:
        if self._observer is not None:
            self._observer.see(f"{self._site}.{what}", x)
        return x

    def sums(self) -> torch.Tensor:
        return self._given

    def rows(self, norm: Norm) -> torch.Tensor:
        return self.normalise(self._given, norm)

    def normalise(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        self._see("residual", x)
        square = self._see("square", x.square().mean(-1, keepdim=True))
        return x * torch.rsqrt(square + norm.eps)

    def linear(self, x: torch.Tensor, part: Linear) -> torch.Tensor:
        y = x @ self._weights[f"{part.name}.weight"]
        y = y + self._weights[f"{part.name}.bias"] if part.biased else y
        return self._see(part.name.rsplit(".", 1)[-1], y)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    def skip(self, y: torch.Tensor, x: torch.Tensor, part: Skip) -> torch.Tensor:
        return y + x * self._weights[part.gain] - x @ self._weights[part.mean]

    def heads(
        self, part: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> Heads[torch.Tensor]:
        queries, keys, values = (x.view(*x.shape[:2], -1, part.head_width).transpose(1, 2) for x in (q, k, v))
        if part.rotary is not None:
            queries, keys = self._turned(part.rotary, queries), self._turned(part.rotary, keys)
        return Heads(queries, keys, values)

    def _turned(self, rotary: Rotary, x: torch.Tensor) -> torch.Tensor:
        assert self._places is not None
        places = self._places[..., -x.shape[2] :]
        cos, sin = (torch.from_numpy(t).float().unsqueeze(-3) for t in turns(places, rotary))
        first, second = x.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def remember(self, part: Attention, heads: Heads[torch.Tensor]) -> View[torch.Tensor]:
        keys, values = heads.keys, heads.values
        if self._past is not None:
            if part.index < len(self._past):
                before = self._past[part.index]
                keys, values = torch.cat((before[0], keys), 2), torch.cat((before[1], values), 2)
            self._past[part.index : part.index + 1] = [(keys, values)]
        return View(keys, values)

    def slots(self, x: torch.Tensor) -> int:
        return int(x.shape[2])

    def newest(self, x: torch.Tensor, slots: int) -> torch.Tensor:
        return x[:, :, x.shape[2] - slots :]

    def scores(self, part: Attention, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Not hidden yet: those that are count towards ranges too, as they are in the ring."""
        scores = queries @ keys.repeat_interleave(part.heads // part.kv_heads, 1).transpose(-1, -2)
        if part.relative is not None:
            places = torch.from_numpy(buckets(scores.shape[-1])[: scores.shape[-2]])
            scores = scores + self._weights[part.relative][places].permute(2, 0, 1)
        return self._see("scores", scores)

    def softmax(self, part: Attention, scores: torch.Tensor) -> torch.Tensor:
        if self._past is None and self._real is None:
            return torch.softmax(scores * float(np.log(2.0)), -1)
        rows, slots = scores.shape[-2:]
        hidden = torch.zeros((rows, slots), dtype=torch.bool)
        if self._past is not None:
            hidden = torch.ones((rows, slots), dtype=torch.bool).triu(slots - rows + 1)
        if self._real is not None:
            hidden = hidden | ~self._real[:, None, None, -slots:]
        if self._past is not None:  # a row of padding with nothing before it would see nothing at all
            hidden = hidden & ~torch.eye(slots, dtype=torch.bool)[-rows:]
        return torch.softmax(scores.masked_fill(hidden, -torch.inf) * float(np.log(2.0)), -1)

    def mix(self, part: Attention, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        mixed = self._see("attended", weights @ values.repeat_interleave(part.heads // part.kv_heads, 1))
        return mixed.transpose(1, 2).flatten(2)

    def lifted(self, part: Attention, x: torch.Tensor) -> torch.Tensor:
        return x

    def plain(self, part: Attention, scores: torch.Tensor) -> torch.Tensor:
        return self._see(f"{part.variant}.scores", scores)

    def positive(self, part: Attention, scores: torch.Tensor) -> torch.Tensor:
        return (scores > 0).to(scores.dtype)

    def kept(self, part: Attention, which: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return which * scores

    def squared(self, part: Attention, scores: torch.Tensor) -> torch.Tensor:
        return scores.square()

    def paired(self, part: Attention, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self._see(f"{part.variant}.pairs", keys.transpose(-1, -2) @ values)

    def gathered(
        self, part: Attention, weights: torch.Tensor, values: torch.Tensor, halvings: int
    ) -> torch.Tensor:
        mixed = self._see(f"{part.variant}.mixed", weights @ self._repeated(part, values))
        return self._see("attended", mixed * 2.0**-halvings).transpose(1, 2).flatten(2)

    def averaged(
        self, part: Attention, weights: torch.Tensor, values: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mixed = self._see(f"{part.variant}.mixed", weights @ self._repeated(part, values))
        return mixed, 1 / (self._see(f"{part.variant}.sum", weights.sum(-1, keepdim=True)) + eps)

    def divided(self, part: Attention, mixed: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        return self._see("attended", mixed * inverse).transpose(1, 2).flatten(2)

    def _repeated(self, part: Attention, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(part.heads // part.kv_heads, 1)

    def pick(self, x: torch.Tensor, heads: Sequence[int]) -> torch.Tensor:
        return x[:, list(heads)]

    def together(self, part: Attention, groups: Sequence[torch.Tensor], heads: Sequence[int]) -> torch.Tensor:
        whole = torch.cat(list(groups), -1)
        cut = whole.view(*whole.shape[:-1], part.heads, part.head_width)
        return cut[..., list(np.argsort(heads)), :].flatten(-2)

    def activate(self, x: torch.Tensor, part: FeedForward) -> torch.Tensor:
        return self._see("hidden", FUNCTIONS[part.activation].clear(x))

    def gate(self, x: torch.Tensor, y: torch.Tensor, part: FeedForward) -> torch.Tensor:
        return self._see("hidden", FUNCTIONS[part.activation].clear(x) * y)

    def some(self, x: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        return x[:, list(places)]

    def placed(self, groups: Sequence[torch.Tensor], places: Sequence[int]) -> torch.Tensor:
        return torch.cat(list(groups), 1)[:, list(np.argsort(places))]

    def last(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        return x[:, x.shape[1] - rows :]

    def tail(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        return self.last(x, rows)

    def top(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        return x[:, :rows]

    def first(self, x: torch.Tensor, rows: int = 1) -> torch.Tensor:
        return x[:, :rows]

    def pool(self, x: torch.Tensor, head: Head) -> torch.Tensor:
        pooled = self._see("pooled", self.first(x) if head.first else self._mean(x))
        gain, bias = (self._weights[f"{head.label}.{name}"] for name in ("gain", "bias"))
        return self._see("result", pooled * gain + bias)

    def _mean(self, x: torch.Tensor) -> torch.Tensor:
        """Of the real rows."""
        assert self._real is not None
        real = self._real.float()
        return torch.div((real[..., None] * x).sum(1, keepdim=True), real.sum(-1)[:, None, None])

    def answer(self, x: torch.Tensor, head: Head) -> torch.Tensor:
        return x
