"""Logs on stderr, one JSON object a line, of nothing but a list of harmless fields, and bounded by kind."""

from __future__ import annotations

import json
import math
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from privinf.errors import PrivinfError
from privinf.parties.quota import Allowance, Quota
from privinf.parties.writer import WRITER
from privinf.protocols.contract import QueryShape

# Public facts alone: whatever is not named here is not written, whoever passes it.
ALLOWED: Final = frozenset(
    {
        "error",
        "kind",
        "left_out",
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
WORK: Final = Allowance(600, 10.0)  # what was asked for and done
TROUBLE: Final = Allowance(60, 1.0)  # what those with a certificate can cause
STRANGERS: Final = Allowance(20, 0.1)  # what anybody who reaches the port can cause
_LONGEST: Final = 500  # characters of one value


class Log:
    """The log of one role."""

    def __init__(self, role: str) -> None:
        self._role, self._quota = role, Quota()

    def info(self, event: str, **fields: object) -> None:
        """Write what happened."""
        self._write("info", event, fields, WORK)

    def failure(self, method: str, error: BaseException) -> None:
        """Write what a call failed with: our own message, or where a stranger came from."""
        if isinstance(error, PrivinfError):
            fields = {"method": method, "kind": type(error).__name__, "error": str(error)}
            self._write("warning", "refused", fields | {"session": error.session_id, "party": error.party})
        else:
            fields = {"method": method, "kind": type(error).__name__, "where": places(error.__traceback__)}
            self._write("error", "failed", fields)

    def ended(self, error: Exception) -> None:
        """Write why this process ends, for who started it."""
        self._write("error", "ended", {"kind": type(error).__name__, "error": str(error)})

    def stranger(self, level: str, event: str, **fields: object) -> None:
        """Write what anybody who reaches this machine could have caused."""
        self._write(level, event, fields, STRANGERS)

    def close(self) -> None:
        """Say what was left out until now."""
        self._tell(self._quota.rested(every=True))

    def _write(self, level: str, event: str, fields: dict[str, Any], allowance: Allowance = TROUBLE) -> None:
        name = " ".join(str(word) for word in (event, fields.get("kind"), fields.get("method")) if word)
        missed = self._quota.take(name, allowance)
        if missed is None:
            return
        left_out = {"left_out": missed} if missed else {}
        _emit(level, event, {"role": self._role} | clean(fields | left_out))
        self._tell(self._quota.rested())

    def _tell(self, missed: list[tuple[str, int]]) -> None:
        for name, count in missed:
            _emit("warning", "left out", {"role": self._role, "kind": name, "left_out": count})


def clean(fields: dict[str, Any]) -> dict[str, object]:
    """Keep allowed names with plain values; arrays, bytes and objects never pass."""
    kept: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, QueryShape):
            value = f"{value.task}:{value.batch}:{value.tokens}"
        if name in ALLOWED and isinstance(value, (str, int, float, bool)):
            kept[name] = _plain(value)
    return kept


def places(trace: TracebackType | None) -> str:
    """Return the lines an exception passed through; its text might hold a value, they cannot."""
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(trace))


def _plain(value: str | float) -> str | float:
    """A value that JSON has, of bounded length."""
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode("utf-8")
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _emit(level: str, event: str, fields: dict[str, object]) -> None:
    line = {**fields, "event": event, "level": level, "timestamp": datetime.now(UTC).isoformat()}
    WRITER.line(json.dumps(line))
