"""An encoder as a client holds it: its public facts, and how texts become queries; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from privinf.models.programs import texts as wire
from privinf.models.programs.texts import Ids
from privinf.models.sharing.bundle import read_queries
from privinf.models.text.tokenizer import Tokenizer, bucket
from privinf.protocols.contract import QueryShape
from privinf.sdk.answers import F32
from privinf.sdk.options import Reading

MAX_TOKENS = 256  # rows of one query; longer lists are asked in several


@dataclass(frozen=True)
class Request:
    """One query: its public shape, the places of its texts, and the rows of their tokens."""

    shape: QueryShape
    places: tuple[int, ...]
    rows: wire.Rows = field(repr=False)


class EncoderSide:
    """The client's directory of a shared encoder: tokenising, sharing and adding up."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.bundle = read_queries(directory, "client")
        self.tokenizer = Tokenizer(directory)

    def read(self, texts: Sequence[str], reading: Reading) -> Sequence[Ids]:
        """Token ids of each text; InputError for one that the model cannot take."""
        return self.tokenizer.encode(texts, **vars(reading))

    def requests(self, task: str, texts: Sequence[str], reading: Reading) -> Iterator[Request]:
        """The queries that texts are asked in; one that the model cannot take is refused in its turn."""
        self.bundle.layout.check_task(task)
        ids = self.read(texts, reading)
        grouped: dict[int, list[int]] = {}
        for place, tokens in enumerate(ids):
            size = bucket(len(tokens))
            most = max(self.bundle.layout.max_tokens, len(tokens))  # longer texts are refused with the shape
            grouped.setdefault(min(size, most), []).append(place)
        return self._cut(task, grouped, ids)

    def shares(self, request: Request) -> tuple[bytes, ...]:
        """Each party's share of a query."""
        return self.bundle.scheme.share(self.bundle.layout.form(request.shape), request.rows.values)

    def decode(self, request: Request, parts: Sequence[bytes]) -> F32:
        """The answer of a query."""
        layout = self.bundle.layout
        total = self.bundle.scheme.add_up(layout.result(request.shape), parts)
        return wire.decode(layout, request.shape, request.rows, total)

    def rows(self, texts: int) -> F32:
        """Room for so many answers."""
        return np.empty((texts, self.bundle.spec.answer_width), dtype=np.float32)

    def _cut(self, task: str, grouped: dict[int, list[int]], ids: Sequence[Ids]) -> Iterator[Request]:
        """Texts of one length bucket go together, as many as fit one query."""
        for tokens, places in sorted(grouped.items()):
            at_most = max(MAX_TOKENS // tokens, 1)
            for start in range(0, len(places), at_most):
                chosen = tuple(places[start : start + at_most])
                shape = QueryShape(task, len(chosen), tokens)
                yield Request(
                    shape, chosen, wire.lay_out(self.bundle.layout, shape, [ids[i] for i in chosen])
                )
