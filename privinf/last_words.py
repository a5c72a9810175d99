"""What a server's log ends with, in one line: the reason of its end where it wrote one, else its last lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_BYTES = 1 << 14  # of the end of the log that is read
_LINES = 3
_LONGEST = 600


def last_words(log: Path) -> str:
    """The end of a log, for an error that outlives it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _BYTES))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    events = [_event(line) for line in lines]
    reasons = [event for event in events if event.get("event") == "ended"]
    if reasons:
        return f"{reasons[-1].get('kind')}: {reasons[-1].get('error')}"
    said = " | ".join(map(_told, events[-_LINES:], lines[-_LINES:]))
    return f"its log ends with: {said[-_LONGEST:]}" if said else "it wrote no log"


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def _told(event: dict[str, Any], line: str) -> str:
    return " ".join(str(event[name]) for name in ("event", "kind", "error") if name in event) or line
