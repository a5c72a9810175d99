"""Logs on stderr, one JSON object a line, of nothing but a list of harmless fields."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from privinf.errors import PrivinfError
from privinf.protocols.program import QueryShape

# Public facts alone: whatever is not named here is not written, whoever passes it.
ALLOWED: Final = frozenset(
    {
        "error",
        "kind",
        "method",
        "party",
        "passes",
        "port",
        "preparation",
        "ready",
        "rounds",
        "seconds",
        "session",
        "shape",
        "where",
    }
)


class Log:
    """The log of one role; through structlog where it is installed, and the same without."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._emit = _emitter()

    def info(self, event: str, **fields: object) -> None:
        """Write what happened."""
        self._write("info", event, fields)

    def failure(self, method: str, error: BaseException) -> None:
        """Write what a call failed with: our own message, or where a stranger came from."""
        if isinstance(error, PrivinfError):
            fields = {"method": method, "kind": type(error).__name__, "error": str(error)}
            self._write("warning", "refused", fields | {"session": error.session_id, "party": error.party})
        else:
            fields = {"method": method, "kind": type(error).__name__, "where": places(error.__traceback__)}
            self._write("error", "failed", fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self._emit(level, event, {"role": self._role} | clean(fields))


def clean(fields: dict[str, Any]) -> dict[str, object]:
    """Keep allowed names with plain values; arrays, bytes and objects never pass."""
    kept: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, QueryShape):
            value = f"{value.task}:{value.batch}:{value.tokens}"
        if name in ALLOWED and isinstance(value, (str, int, float, bool)):
            kept[name] = value
    return kept


def places(trace: TracebackType | None) -> str:
    """Return the lines an exception passed through; its text might hold a value, they cannot."""
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(trace))


def _emitter() -> Callable[[str, str, dict[str, object]], None]:
    try:
        import structlog
    except ImportError:
        return _plain()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    return lambda level, event, fields: getattr(logger, level)(event, **fields)


def _plain() -> Callable[[str, str, dict[str, object]], None]:
    lock = threading.Lock()

    def emit(level: str, event: str, fields: dict[str, object]) -> None:
        line = {**fields, "event": event, "level": level, "timestamp": datetime.now(UTC).isoformat()}
        with lock:
            print(json.dumps(line), file=sys.stderr, flush=True)

    return emit
