"""The roles of a deployment by name, as certificates prove them."""

from __future__ import annotations

from typing import Final

MOST_PARTIES: Final = 8
PARTIES: Final = tuple(f"party{index}" for index in range(MOST_PARTIES))
ROLES: Final = frozenset({"dealer", "client", *PARTIES})
PEERS: Final = ROLES - {"client"}  # the servers


def index_of(role: str) -> int:
    """Return which party a role is."""
    return PARTIES.index(role)
