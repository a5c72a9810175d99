"""The SDK: private embeddings and classes, asked of two parties that learn neither text nor answer; no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from privinf.config import ClientConfig, Tls, load
from privinf.errors import InputError
from privinf.models import query as wire
from privinf.models.bundle import Bundle, client_embeddings, read
from privinf.models.query import Ids
from privinf.protocols.program import Identity, QueryShape
from privinf.text import Tokenizer, bucket
from privinf.transport import AsyncLink, Link, PartyStatus, Stats

F32 = npt.NDArray[np.float32]
GivenTls = Tls | dict[str, Path]  # paths named ca, cert and key add to what file and environment say
MAX_TOKENS = 256  # rows of one query; longer lists are asked in several
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Usage:
    """What an answer took: seconds by the client's clock, counts per party; offline and online apart.

    `online_bytes` are sent by one party in one direction; `offline_bytes` are the preparations of both.
    """

    queries: int = 0
    rounds: int = 0
    seconds: float = 0.0
    online_seconds: float = 0.0
    offline_seconds: float = 0.0
    prepare_seconds: float = 0.0
    online_bytes: int = 0
    offline_bytes: int = 0
    query_bytes: int = 0
    session_ids: tuple[str, ...] = ()

    def plus(self, stats: Stats) -> Usage:
        """Add one query."""
        slowest = max(stats.parties, key=lambda party: party.online_seconds)
        return Usage(
            self.queries + 1,
            self.rounds + slowest.rounds,
            self.seconds + stats.seconds,
            self.online_seconds + slowest.online_seconds,
            self.offline_seconds + max(party.offline_seconds for party in stats.parties),
            self.prepare_seconds + max(party.prepare_seconds for party in stats.parties),
            self.online_bytes + max(party.online_bytes for party in stats.parties),
            self.offline_bytes + sum(party.preparation_bytes for party in stats.parties),
            self.query_bytes + stats.query_bytes,
            (*self.session_ids, stats.session_id),
        )


@dataclass(frozen=True)
class Embeddings:
    """`vectors` is (texts, width) float32, in the order of the texts."""

    vectors: F32 = field(repr=False)
    stats: Usage

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Classification:
    """`logits` is (texts, labels) float32; `labels` the most likely label of each text."""

    logits: F32 = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    stats: Usage

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class Request:
    """One query: its public shape, the places of its texts, and their token ids."""

    shape: QueryShape
    places: tuple[int, ...]
    ids: tuple[Ids, ...] = field(repr=False)


class _Base:
    """What both clients share: the model's public facts, tokenising, sharing and adding up."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        parties: Sequence[str] | None = None,
        tls: GivenTls | None = None,
        deadline: float | None = None,
        insecure_no_tls: bool | None = None,
        config: str | Path | None = None,
    ) -> None:
        self._config = client_config(
            parties, tls=tls, deadline=deadline, insecure_no_tls=insecure_no_tls, config=config
        )
        self._bundle: Bundle = read(model)
        self._tokenizer = Tokenizer(model)
        self._embeddings = client_embeddings(self._bundle)
        self._dial()

    def _dial(self) -> None:
        """Make the link of this face; nothing is sent yet."""
        raise TypeError("use Client or AsyncClient")

    @property
    def identity(self) -> Identity:
        """Model, plan and version that both parties must attest."""
        return self._bundle.identity

    def check(self, texts: Sequence[str], *, truncate: bool = False) -> None:
        """Raise InputError for the first text that the model cannot take; nothing is asked."""
        self._tokenizer.encode(texts, truncate=truncate)

    def _requests(self, task: str, texts: Sequence[str], truncate: bool) -> list[Request]:
        ids = self._tokenizer.encode(texts, truncate=truncate)
        grouped: dict[int, list[int]] = {}
        for place, tokens in enumerate(ids):
            size = bucket(len(tokens))
            most = max(self._bundle.layout.max_tokens, len(tokens))  # longer texts are refused with the shape
            grouped.setdefault(min(size, most), []).append(place)
        return list(_cut(task, grouped, ids))

    def _shares(self, request: Request) -> tuple[bytes, bytes]:
        layout = self._bundle.layout
        values = wire.encode(layout, request.shape, request.ids, self._embeddings)
        return wire.split(layout, request.shape, values)

    def _decode(self, request: Request, first: bytes, second: bytes) -> F32:
        return wire.decode(self._bundle.layout, request.shape, first, second)

    def _rows(self, task: str, texts: Sequence[str]) -> F32:
        width = self._bundle.spec.width if task == "embed" else len(self._bundle.spec.labels)
        return np.empty((len(texts), width), dtype=np.float32)

    def _classes(self, logits: F32, stats: Usage) -> Classification:
        names = self._bundle.spec.labels
        return Classification(logits, tuple(names[i] for i in logits.argmax(axis=-1)), stats)


def _cut(task: str, grouped: dict[int, list[int]], ids: Sequence[Ids]) -> Iterator[Request]:
    """Texts of one length bucket go together, as many as fit one query."""
    for tokens, places in sorted(grouped.items()):
        at_most = max(MAX_TOKENS // tokens, 1)
        for start in range(0, len(places), at_most):
            chosen = tuple(places[start : start + at_most])
            yield Request(QueryShape(task, len(chosen), tokens), chosen, tuple(ids[i] for i in chosen))


def client_config(
    parties: Sequence[str] | None = None,
    *,
    tls: GivenTls | None = None,
    deadline: float | None = None,
    insecure_no_tls: bool | None = None,
    config: str | Path | None = None,
) -> ClientConfig:
    """Arguments win over PRIVINF_* variables, those over the file `config`."""
    addresses = None if parties is None else tuple(parties)
    if addresses is not None and len(addresses) != 2:
        raise InputError("two parties are needed: their addresses as host:port")
    return load(
        ClientConfig, config, parties=addresses, tls=tls, deadline=deadline, insecure_no_tls=insecure_no_tls
    )


class Client(_Base):
    """Asks both parties; `model` is the client directory written by `privinf share`.

    Use it as a context manager. Errors are those of `privinf.errors`; a failed query is never resent,
    as its shares must not be used twice: call again.
    """

    def _dial(self) -> None:
        self._link = Link(self._config, self.identity)

    def embed(
        self,
        texts: Sequence[str],
        *,
        truncate: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Embed texts; `timeout` is the deadline of each query in seconds, `progress` is told of texts done."""
        vectors, stats = self._ask("embed", texts, truncate, timeout, progress)
        return Embeddings(vectors, stats)

    def classify(
        self,
        texts: Sequence[str],
        *,
        truncate: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Classification:
        """Classify texts with the model's head."""
        logits, stats = self._ask("classify", texts, truncate, timeout, progress)
        return self._classes(logits, stats)

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return self._link.status()

    def _ask(
        self,
        task: str,
        texts: Sequence[str],
        truncate: bool,
        timeout: float | None,
        progress: Progress | None,
    ) -> tuple[F32, Usage]:
        requests = self._requests(task, texts, truncate)
        rows, usage = self._rows(task, texts), Usage()
        for request in requests:
            self._bundle.layout.check(request.shape)
            first, second, stats = self._link.run(request.shape, self._shares(request), timeout)
            rows[list(request.places)] = self._decode(request, first, second)
            usage = usage.plus(stats)
            if progress is not None:
                progress(len(request.places))
        return rows, usage

    def close(self) -> None:
        """Release the connections; idempotent."""
        self._link.close()

    def __enter__(self) -> Self:
        self._link.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Base):
    """The same for asyncio; a cancelled call drops its query at both parties."""

    def _dial(self) -> None:
        self._link = AsyncLink(self._config, self.identity)

    async def embed(
        self, texts: Sequence[str], *, truncate: bool = False, timeout: float | None = None
    ) -> Embeddings:
        """Embed texts; `timeout` is the deadline of each query in seconds."""
        vectors, stats = await self._ask("embed", texts, truncate, timeout)
        return Embeddings(vectors, stats)

    async def classify(
        self, texts: Sequence[str], *, truncate: bool = False, timeout: float | None = None
    ) -> Classification:
        """Classify texts with the model's head."""
        logits, stats = await self._ask("classify", texts, truncate, timeout)
        return self._classes(logits, stats)

    async def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return await self._link.status()

    async def _ask(
        self, task: str, texts: Sequence[str], truncate: bool, timeout: float | None
    ) -> tuple[F32, Usage]:
        rows, usage = self._rows(task, texts), Usage()
        for request in self._requests(task, texts, truncate):
            self._bundle.layout.check(request.shape)
            first, second, stats = await self._link.run(request.shape, self._shares(request), timeout)
            rows[list(request.places)] = self._decode(request, first, second)
            usage = usage.plus(stats)
        return rows, usage

    async def close(self) -> None:
        """Release the connections; idempotent."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        await self._link.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
