"""The two-party protocol on masked values: its interpreters, what the dealer deals, and its gates."""

from __future__ import annotations

from typing import Final

from privinf.protocols.contract import Topology

NAME: Final = "masked"  # what every role attests
TOPOLOGY: Final = Topology(parties=2, dealer=True)
