"""Texts as a client asks about them: read, cut into requests, and covered; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.equivariant import wire
from privinf.equivariant.asking.own_part import client_part
from privinf.equivariant.key import Key, KeyAbout
from privinf.equivariant.wire import F32
from privinf.errors import ModelError, ProtocolError
from privinf.models.text.tokenizer import Tokenizer
from privinf.sdk.asked import listed
from privinf.sdk.backend import Items
from privinf.sdk.options import Reading
from privinf.v1 import equivariant_pb2 as pb

MOST_ROWS = 4096  # tokens of one request, padding included, where the server takes so many
MOST_BYTES = 16 << 20

Read = Sequence[npt.NDArray[Any]]  # token ids of texts, or patches of images


@dataclass(frozen=True)
class Batch:
    """What is asked about in one request: places among all, and token ids or patches."""

    places: tuple[int, ...]
    items: Read = field(repr=False)


class EncoderRules(Tokenizer):
    """An encoder's tokenizer, which must add the special tokens that the model was trained with."""

    def require_specials(self) -> None:
        """Refuse one that adds none: the model would answer, and wrongly."""
        if self._specials < 2:
            raise ModelError(
                "tokenizer.json adds no special tokens such as [CLS] and [SEP] to a text: copy the model's own"
            )


class TextSide:
    """The client's directory of a covered encoder of texts."""

    def __init__(self, folder: Path, about: KeyAbout) -> None:
        self._spec, self.own = client_part(folder, about)
        self.tokenizer, self._most = EncoderRules(folder), most_rows(about)
        self.tokenizer.require_specials()
        self.says = self._spec.classifier.says if self._spec.labels else "label"
        embeds = about.task == "embed"
        self._pooling = (self._spec.pool.kind or "mean") if embeds else "cls"
        self._unit = embeds and self._spec.pool.unit

    def read(self, texts: Items, reading: Reading) -> Read:
        """Token ids of each text; InputError for one that the model cannot take."""
        return self.tokenizer.encode(listed(texts), **vars(reading))

    def batches(self, ids: Read, max_rows: int) -> Iterator[Batch]:
        """Texts of like length go together, as many as fit one request."""
        if not ids:
            return
        room, waiting = min(max_rows, self._most), list[int]()
        for place in sorted(range(len(ids)), key=lambda place: len(ids[place])):
            if waiting and (len(waiting) + 1) * len(ids[place]) > room:
                yield batch_of(waiting, ids)
                waiting = []
            waiting.append(place)
        yield batch_of(waiting, ids)

    def query(self, batch: Batch, key: Key) -> pb.CoveredQuery:
        """What is sent where the server embeds: covered ids."""
        assert key.tokens is not None
        texts = [pb.CoveredIds(ids=key.tokens[ids].tolist()) for ids in batch.items]
        return pb.CoveredQuery(id=key.about.id, texts=texts, pooling=self._pooling)

    def step(self, batch: Batch, key: Key) -> pb.CoveredStep:
        """What is sent where the client embeds: covered rows, padded with zeros."""
        assert self.own is not None
        assert key.hidden is not None
        lengths = [len(ids) for ids in batch.items]
        rows = np.zeros((len(lengths), max(lengths), key.about.server_width))
        for place, ids in enumerate(batch.items):
            rows[place, : len(ids)] = self.own.token_rows(ids) @ key.hidden
        return pb.CoveredStep(rows=wire.rows_message(rows), lengths=lengths, pooling=self._pooling)

    def finished(self, rows: F32) -> F32:
        """Embeddings of unit length, and cut, where the model says so."""
        if self._unit:
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            if not lengths.all():
                raise ProtocolError("server: it gave an embedding of length 0, which has no direction")
            rows = rows / lengths
        return rows[:, : self._spec.answer_width]


def most_rows(about: KeyAbout) -> int:
    """Rows of one request at most, whether they are ids or what ids were embedded as."""
    return min(MOST_ROWS, max(1, MOST_BYTES // (4 * about.server_width)))


def batch_of(places: Sequence[int], items: Read) -> Batch:
    """What stands at those places."""
    return Batch(tuple(places), tuple(items[place] for place in places))
