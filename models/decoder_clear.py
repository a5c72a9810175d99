"""The clear interpreter of decoders: float32 PyTorch; the oracle, the source of ranges and of a prefix's cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from privinf.errors import MissingExtra
from privinf.models.decoder import extend, predict
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import F64
from privinf.models.rotary import turns

try:
    import torch

    from privinf.models.clear import ACTIVATIONS, Ranges
except ImportError as error:
    raise MissingExtra('the clear interpreter needs torch: pip install "privinf[models]"') from error

Past = list[
    tuple[torch.Tensor, torch.Tensor]
]  # keys and values of each layer, (batch, kv heads, slots, width)


class ClearDecoder:
    """Folded weights in float32, and a cache that `run` extends; records ranges where a recorder is given."""

    def __init__(self, spec: DecoderSpec, weights: Mapping[str, F64], ranges: Ranges | None = None) -> None:
        self.spec, self.past = spec, Past()
        self._weights = {name: torch.as_tensor(w, dtype=torch.float32) for name, w in weights.items()}
        self._ranges = ranges
        self._scope: list[str] = []

    @property
    def slots(self) -> int:
        """How many keys are in the cache."""
        return self.past[0][0].shape[2] if self.past else 0

    def run(self, ids: torch.Tensor, rows: int | None = None) -> torch.Tensor:
        """Logits (batch, rows, vocab) of the last `rows` of ids (batch, tokens); all without a number."""
        count = ids.shape[1] if rows is None else rows
        with torch.inference_mode():
            answer: torch.Tensor = predict(self, self.spec, ids, count)
        return answer

    def read(self, ids: torch.Tensor) -> None:
        """Extend the cache alone."""
        with torch.inference_mode():
            extend(self, self.spec, ids)

    def rewind(self, past: Past, batch: int = 1) -> None:
        """Begin again from a cache of one row."""
        self.past = [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in past]

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

    def embed(self, query: torch.Tensor) -> torch.Tensor:
        x = self._weights["embed.token"][query]
        if "embed.position" in self._weights:
            x = x + self._weights["embed.position"][self.slots : self.slots + query.shape[1]]
        return x

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        self._see("residual", x)
        square = self._see("square", x.square().mean(-1, keepdim=True))
        return x * torch.rsqrt(square + self.spec.eps)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        y = x @ self._weights[self._name(f"{name}.weight")]
        bias = self._weights.get(self._name(f"{name}.bias"))
        return self._see(name, y if bias is None else y + bias)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        spec, (batch, tokens, _) = self.spec, q.shape
        q, k, v = (x.view(batch, tokens, -1, spec.head_width).transpose(1, 2) for x in (q, k, v))
        layer, start = int(self._scope[0].removeprefix("layer")), self._start()
        if spec.rope_theta:
            q, k = self._turned(q, start), self._turned(k, start)
        keys, values = self._extended(layer, k, v)
        scores = q @ keys.repeat_interleave(spec.heads // spec.kv_heads, 1).transpose(-1, -2)
        hidden = torch.ones(tokens, keys.shape[2], dtype=torch.bool).triu(start + 1)
        self._see("scores", scores)  # of rows to come too: they are in the ring, and hidden there
        weights = torch.softmax(scores.masked_fill(hidden, -torch.inf) * float(np.log(2.0)), -1)
        attended = weights @ values.repeat_interleave(spec.heads // spec.kv_heads, 1)
        return self._see("attended", attended).transpose(1, 2).reshape(batch, tokens, -1)

    def _start(self) -> int:
        """Slots before this pass; the layers before have been extended already."""
        layer = int(self._scope[0].removeprefix("layer"))
        return self.past[layer][0].shape[2] if layer < len(self.past) else 0

    def _turned(self, x: torch.Tensor, start: int) -> torch.Tensor:
        places = np.arange(start, start + x.shape[2])
        cos, sin = (torch.from_numpy(t).float() for t in turns(places, x.shape[3], self.spec.rope_theta))
        first, second = x.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def _extended(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer < len(self.past):
            before = self.past[layer]
            self.past[layer] = torch.cat((before[0], k), 2), torch.cat((before[1], v), 2)
        else:
            self.past.append((k, v))
        return self.past[layer]

    def activate(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self._see("hidden", ACTIVATIONS[name](x))

    def gate(self, x: torch.Tensor, y: torch.Tensor, name: str) -> torch.Tensor:
        return self._see("hidden", ACTIVATIONS[name](x) * y)

    def last(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        return x[:, x.shape[1] - rows :]

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        return x


def prefix_cache(spec: DecoderSpec, weights: Mapping[str, F64], prefix: Sequence[int]) -> Past:
    """Keys and values of a prefix; none for an empty one."""
    decoder = ClearDecoder(spec, weights)
    if not prefix:
        return Past()
    decoder.read(torch.tensor([list(prefix)]))
    return decoder.past
