"""What both clients share: a model's public facts, their configuration, and what answers took."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.config import ClientConfig, Tls, load
from privinf.errors import InputError
from privinf.models.decoder_spec import model_kind
from privinf.models.folder import read_about
from privinf.protocols.contract import Identity, QueryShape
from privinf.sdk.answers import Classification
from privinf.sdk.asked import listed
from privinf.sdk.decoder_client import DecoderSide
from privinf.sdk.encoder_client import EncoderSide
from privinf.sdk.query import Stats

F32 = npt.NDArray[np.float32]
GivenTls = Tls | dict[str, Path]  # paths named ca, cert and key add to what file and environment say
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


def client_config(
    parties: Sequence[str] | None = None,
    *,
    tls: GivenTls | None = None,
    deadline: float | None = None,
    insecure_no_tls: bool | None = None,
    config: str | Path | None = None,
) -> ClientConfig:
    """Arguments win over PRIVINF_* variables, those over the file `config`, or else the one of PRIVINF_CONFIG."""
    addresses = None if parties is None else tuple(parties)
    if addresses is not None and len(addresses) != 2:
        raise InputError("give the addresses of both parties as host:port")
    config = config or os.environ.get("PRIVINF_CONFIG") or None
    return load(
        ClientConfig, config, parties=addresses, tls=tls, deadline=deadline, insecure_no_tls=insecure_no_tls
    )


class BaseClient:
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
        read_about(Path(model), "client")  # says what is wrong with a directory that is no shared model
        self._side: EncoderSide | DecoderSide = (
            DecoderSide(model) if model_kind(model) == "decoder" else EncoderSide(model)
        )
        self._seen: set[QueryShape] = set()
        self._dial()

    def _dial(self) -> None:
        """Make the link of this face; nothing is sent yet."""
        raise TypeError("use Client or AsyncClient")

    @property
    def identity(self) -> Identity:
        """Model, plan and version that both parties must attest."""
        return self._side.bundle.identity

    @property
    def _encoder(self) -> EncoderSide:
        if isinstance(self._side, EncoderSide):
            return self._side
        raise InputError("this model generates: use generate or chat")

    @property
    def _decoder(self) -> DecoderSide:
        if isinstance(self._side, DecoderSide):
            return self._side
        raise InputError("this model is an encoder: use embed or classify")

    def check(self, texts: str | Iterable[str], **options: Any) -> None:
        """Raise InputError for the first text that the model cannot take; options as for `embed`. Nothing is asked."""
        self._encoder.tokenizer.encode(listed(texts), **options)

    def _warn(self, shape: QueryShape, timeout: float | None) -> None:
        """Say once of each shape that it is dear, or cannot be answered in time; small ones are not looked at."""
        from privinf import speed
        from privinf.sdk import costs

        if shape in self._seen or shape.batch * shape.tokens <= costs.SMALL_ROWS:
            return
        self._seen.add(shape)
        deadline = self._config.deadline if timeout is None else timeout
        cost = costs.query_cost(self._encoder.bundle, shape)
        if said := costs.warning(shape, cost, deadline, speed.stored()):
            warnings.warn(said, costs.CostWarning, stacklevel=4)

    def _classes(self, logits: F32, stats: Usage) -> Classification:
        spec = self._encoder.bundle.spec
        return Classification(logits, spec.labels, spec.says, stats)
