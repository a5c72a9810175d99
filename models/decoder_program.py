"""What dealer and parties run for a decoder: they begin generations."""

from __future__ import annotations

from dataclasses import dataclass

from privinf.models.decoder_layout import DecoderLayout
from privinf.models.decoder_public import PRIVATE, Public
from privinf.models.decoder_session import DecoderDealerSession, DecoderPartySession
from privinf.models.weights import DealerStore, PartyStore
from privinf.protocols.contract import DealerSession, PartySession, SessionShape


@dataclass(frozen=True)
class DecoderDealer:
    """What the dealer deals for generations."""

    layout: DecoderLayout
    store: DealerStore | None
    public: Public = PRIVATE

    def begin(self, shape: SessionShape) -> DealerSession:
        return DecoderDealerSession(self.layout, shape, self.store, self.public)


@dataclass(frozen=True)
class DecoderParty:
    """How a party generates."""

    party: int
    layout: DecoderLayout
    store: PartyStore | None
    public: Public = PRIVATE

    def begin(self, shape: SessionShape) -> PartySession:
        return DecoderPartySession(self.layout, shape, self.party, self.store, self.public)
