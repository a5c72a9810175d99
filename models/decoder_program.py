"""What dealer and parties run for a decoder: it answers no single query, and begins generations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from privinf.errors import InputError
from privinf.models.decoder_layout import DecoderLayout
from privinf.models.decoder_public import PRIVATE, Public
from privinf.models.decoder_session import DecoderDealerSession, DecoderPartySession
from privinf.models.weights import DealerStore, PartyStore
from privinf.protocols.contract import (
    Channel,
    DealerSession,
    Dealt,
    Identity,
    PartySession,
    QueryShape,
    SessionShape,
    Source,
)

NO_ENCODER = "this model is a decoder: it generates"


class DecoderDealer:
    """The dealer's program."""

    def __init__(
        self, identity: Identity, layout: DecoderLayout, store: DealerStore | None, public: Public = PRIVATE
    ) -> None:
        self.identity = identity
        self._layout, self._store, self._public = layout, store, public

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        _refuse()

    def deal(self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        _refuse()

    def begin(self, shape: SessionShape) -> DealerSession:
        return DecoderDealerSession(self._layout, shape, self._store, self._public)


class DecoderParty:
    """A party's program."""

    def __init__(
        self,
        identity: Identity,
        party: int,
        layout: DecoderLayout,
        store: PartyStore | None,
        public: Public = PRIVATE,
    ) -> None:
        self.identity, self.party = identity, party
        self._layout, self._store, self._public = layout, store, public

    def begin(self, shape: SessionShape) -> PartySession:
        return DecoderPartySession(self._layout, shape, self.party, self._store, self._public)

    def check(self, shape: QueryShape) -> None:
        _refuse()

    def query_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def result_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def prep_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def aside_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, aside: memoryview) -> None:
        _refuse()

    def evaluate(
        self,
        shape: QueryShape,
        query: memoryview,
        preparation: bytes,
        prep: Source,
        aside: memoryview,
        seed: bytes,
        channel: Channel,
    ) -> bytes:
        _refuse()


def _refuse() -> NoReturn:
    raise InputError(NO_ENCODER)
