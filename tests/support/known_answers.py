"""The protocol's known answers as tests read them: tests/vectors/protocol.json, which known_protocol.py writes."""

from __future__ import annotations

import json
from typing import Any

import known_protocol

Case = dict[str, Any]
KNOWN: dict[str, Any] = json.loads(known_protocol.FILE.read_text("utf-8"))
SEEDS = [bytes.fromhex(seed) for seed in KNOWN["seeds"]]
PREPARATION = bytes.fromhex(KNOWN["preparation"])
