"""The roles of a deployment by name, as certificates prove them."""

from __future__ import annotations

from typing import Final

PARTIES: Final = tuple(f"party{index}" for index in range(8))  # as many as there may be
ROLES: Final = frozenset({"dealer", "client", *PARTIES})
PEERS: Final = ROLES - {"client"}  # the servers
