"""The program of a role for whatever model its directory holds."""

from __future__ import annotations

import os

from privinf.models import bundle, decoder_bundle
from privinf.models.source.checkpoint import read_spec
from privinf.protocols import kernels
from privinf.protocols.contract import DealerProgram, PartyProgram


def dealer_program(directory: str | os.PathLike[str]) -> DealerProgram:
    """The dealer's program; ModelError where the directory is no shared model, ConfigError for unknown kernels."""
    kernels.default()
    if read_spec(directory).task == "generate":
        return decoder_bundle.dealer_program(directory)
    return bundle.dealer_program(directory)


def party_program(directory: str | os.PathLike[str], party: int) -> PartyProgram:
    """A party's program; ModelError where the directory is no shared model, ConfigError for unknown kernels."""
    kernels.default()
    if read_spec(directory).task == "generate":
        return decoder_bundle.party_program(directory, party)
    return bundle.party_program(directory, party)
