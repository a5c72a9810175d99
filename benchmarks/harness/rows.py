"""Rows of a result: a workload, system, network and phase, with median and spread; and the files that hold them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from privinf.errors import PrivinfError

PHASES = ("offline", "online", "total")
SYSTEMS = ("privinf", "privinf-plaintext", "spu-semi2k", "spu-aby3", "crypten", "torch-float32")
NETWORKS = ("loopback", "lan", "wan", "wan-far")
DEALER_TOO = "+dealer"  # after a network's name: the dealer's links are shaped as well


class MeasureError(PrivinfError):
    """A measurement gave no row: a wrong answer, a peer that failed, a file of another form."""


@dataclass(frozen=True)
class Row:
    """One figure with its spread; what is unknown or does not apply is None.

    `bytes` are sent by one party in one direction (online) or prepared for one party (offline), the larger one.
    `peak_bytes` is the largest resident set of one process.
    """

    workload: str
    system: str
    network: str
    phase: str
    median_s: float
    min_s: float
    max_s: float
    repeats: int
    bytes: int | None = None
    rounds: int | None = None
    peak_bytes: int | None = None
    leaves_out: str = ""
    tokens: int | None = None
    batch: int | None = None
    max_abs_error: float | None = None

    @property
    def key(self) -> tuple[str, str, str, str, int | None]:
        """What tells rows apart."""
        return self.workload, self.system, self.network, self.phase, self.batch


def row_of(samples: Sequence[float], **about: Any) -> Row:
    """A row with the median and the extremes of the samples, in seconds."""
    spread: dict[str, Any] = {
        "median_s": statistics.median(samples),
        "min_s": min(samples),
        "max_s": max(samples),
    }
    return Row(repeats=len(samples), **spread, **about)


def parse(raw: Any) -> Row:
    """A row from JSON; MeasureError where a field is missing, unknown or of another type."""
    if not isinstance(raw, dict) or set(raw) != {f.name for f in fields(Row)}:
        raise MeasureError(f"a row has the fields {', '.join(f.name for f in fields(Row))}, and no others")
    row = Row(**raw)
    words = (row.workload, row.system, row.network, row.phase, row.leaves_out)
    counts = (row.bytes, row.rounds, row.peak_bytes, row.tokens, row.batch)
    if not all(isinstance(word, str) for word in words) or row.phase not in PHASES:
        raise MeasureError(f"a row's names are text, its phase one of {', '.join(PHASES)}")
    if not all(count is None or (isinstance(count, int) and count >= 0) for count in counts):
        raise MeasureError(f"{row.workload}, {row.system}: a count is a whole number or null")
    if not 0 <= row.min_s <= row.median_s <= row.max_s or row.repeats < 1:
        raise MeasureError(f"{row.workload}, {row.system}: the median lies between the extremes")
    return row


def merged(rows: Iterable[Row]) -> list[Row]:
    """Rows of several turns as one each: the median of the turns' medians, the extremes of all."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return [_merge(group) for group in groups.values()]


def _merge(group: list[Row]) -> Row:
    return replace(
        group[0],
        median_s=statistics.median(row.median_s for row in group),
        min_s=min(row.min_s for row in group),
        max_s=max(row.max_s for row in group),
        repeats=sum(row.repeats for row in group),
        peak_bytes=_largest(row.peak_bytes for row in group),
        max_abs_error=_largest(row.max_abs_error for row in group),
    )


def _largest(values: Iterable[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def write(path: Path, title: str, note: str, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Save a result; `about` holds machine, versions and commit, and what else belongs to it."""
    document = {"title": title, "workload_note": note, "rows": [asdict(row) for row in rows], **about}
    machine.write(path, document)


def read(path: Path) -> dict[str, Any]:
    """A result file, its rows parsed."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = [parse(raw) for raw in document["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MeasureError(f"{path} is no result file") from error
    return document | {"rows": rows}


def find(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """The first row whose fields are those given."""
    return next((row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())), None)
