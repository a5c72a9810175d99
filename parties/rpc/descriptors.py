"""File descriptors: a server takes as many as it is allowed, and whoever connects leaves it those for its files.

A connection that shows no certificate within HANDSHAKE_SECONDS is closed, one without calls after IDLE_SECONDS.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Any, Final

HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS: Final = 600.0
_STREAMS: Final = 256  # calls at once on one connection; more wait at their client
_MOST: Final = 1 << 16  # descriptors; a higher limit is left as it is
PROBES: Final = 32  # connections to the port for probes
# For files, peers, pipes and probes; a quarter where there are fewer than four times as many
_OWN: Final = 256


def raise_limit() -> int:
    """Take as many descriptors as the system allows this process; return how many they are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):  # forbidden: then it is as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], most)


def connections(descriptors: int) -> int:
    """Return how many connections leave a server enough of so many descriptors."""
    return descriptors - min(_OWN, descriptors // 4)


def options(most: int | None = None) -> list[tuple[str, Any]]:
    """Return what bounds and times the connections of a server, by default as many as leave it enough."""
    allowed = connections(raise_limit())
    return [
        ("grpc.server_handshake_timeout_ms", round(1000 * HANDSHAKE_SECONDS)),
        ("grpc.max_connection_idle_ms", round(1000 * IDLE_SECONDS)),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_allowed_incoming_connections", allowed if most is None else min(most, allowed)),
    ]
