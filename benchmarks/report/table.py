"""Writes the figures of docs/speed.md and of the README between markers, from the result's JSON and nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import RESULTS, ROOT
from benchmarks.harness.rows import NETWORKS, SYSTEMS, MeasureError, Row, find, read

README, SPEED = ROOT / "README.md", ROOT / "docs" / "speed.md"
ENCRYPTED = [system for system in SYSTEMS if system != "privinf-plaintext"]
MODELS = {
    "minilm": "MiniLM",
    "mpnet": "all-mpnet-base-v2",
    "bert-base-128": "BERT-base size, made-up weights",
}
GATES = ("ring-gemm", "comparison", "gelu", "softmax", "layernorm", "openings")
SMALL = "minilm-32"
LAYER, SUSTAINED = "bert-base-layer-128", "bert-base-layer-128-sustained"
NAMES = {
    "privinf": "privinf",
    "privinf-plaintext": "privinf, TLS off",
    "spu-semi2k": "SPU, SEMI2K",
    "spu-aby3": "SPU, ABY3",
    "crypten": "CrypTen",
    "torch-float32": "float32 in the clear",
}
LINKS = {
    "loopback": "loopback",
    "lan": "LAN: 1 ms, 3 Gbit/s",
    "wan": "WAN: 20 ms, 400 Mbit/s",
    "wan-far": "WAN: 80 ms, 100 Mbit/s",
}


def seconds(row: Row | None) -> str:
    """Median and extremes."""
    if row is None:
        return ""
    digits = 3 if row.median_s < 1 else 2
    return f"{row.median_s:.{digits}f} ({row.min_s:.{digits}f}-{row.max_s:.{digits}f})"


def megabytes(row: Row | None) -> str:
    """Bytes of a row."""
    return "" if row is None or row.bytes is None else f"{row.bytes / 1e6:,.1f}"


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; nothing without lines."""
    body = list(lines)
    every = (head, ["---"] * len(head), *body) if body else ()
    return [f"| {' | '.join(line)} |".replace("  ", " ") for line in every]


def whole(rows: Sequence[Row], **key: Any) -> Row | None:
    """What a system's answer takes in all: a peer without phases has this row alone."""
    return find(rows, phase="total", **key) or find(rows, phase="online", **key)


def of_layer(rows: Sequence[Row]) -> list[str]:
    """One layer, network by network."""
    lines = []
    networks = sorted({row.network for row in rows if row.workload == LAYER}, key=_network_order)
    for network in networks:
        for system in SYSTEMS:
            key = {"workload": LAYER, "system": system, "network": network}
            online, total = find(rows, phase="online", **key), whole(rows, **key)
            if total is None:
                continue
            phased = online is not None and online is not total
            first = online if phased else None
            rounds = (online or total).rounds
            sent = megabytes(online or total)
            lines.append(
                (_network(network), NAMES[system], seconds(first), seconds(total), sent, str(rounds or ""))
            )
    head = ("network", "system", "online, s", "total, s", "MB sent by a party", "rounds")
    return grid(head, lines)


def of_gates(rows: Sequence[Row]) -> list[str]:
    """Single gates, a line each; ours online and in all."""
    names = dict.fromkeys(row.workload for row in rows if row.workload.startswith(GATES))
    lines = []
    for name in names:
        key = {"workload": name, "network": "loopback"}
        mine = find(rows, phase="online", system="privinf", **key)
        others = [seconds(whole(rows, system=system, **key)) for system in ENCRYPTED]
        lines.append((name, seconds(mine), *others))
    head = (
        "gate",
        "privinf, online",
        *("privinf, total" if s == "privinf" else NAMES[s] for s in ENCRYPTED),
    )
    return grid(head, lines)


def of_models(rows: Sequence[Row]) -> list[str]:
    """Whole models through the SDK."""
    found = [r for r in rows if r.workload.startswith(tuple(MODELS)) and r.phase == "total"]
    lines = []
    for total in found:
        key = {
            "workload": total.workload,
            "system": total.system,
            "network": total.network,
            "batch": total.batch,
        }
        online, offline = find(rows, phase="online", **key), find(rows, phase="offline", **key)
        rate = f"{(total.batch or 1) / total.median_s:.2f}"
        model = next(model for start, model in MODELS.items() if total.workload.startswith(start))
        name = f"{model}, {NAMES[total.system]}"
        lines.append(
            (
                name,
                str(total.tokens),
                str(total.batch),
                seconds(online),
                seconds(total),
                rate,
                str(total.rounds or ""),
                megabytes(online),
                megabytes(offline),
            )
        )
    head = (
        "model",
        "tokens",
        "texts",
        "online, s",
        "total, s",
        "texts a second",
        "rounds",
        "MB online",
        "MB prepared",
    )
    return grid(head, lines)


def leaves_out(rows: Sequence[Row]) -> list[str]:
    """What each system's seconds do not pay for."""
    said: dict[str, dict[str, None]] = {}
    for row in rows:
        said.setdefault(NAMES[row.system], {})[row.leaves_out] = None
    return [f"* {system}: {'. Or: '.join(texts)}." for system, texts in said.items()]


def ratios(rows: Sequence[Row]) -> str:
    """Ours beside the fastest peer, for one layer on loopback."""
    key = {"workload": LAYER, "network": "loopback"}
    peers = [whole(rows, system=system, **key) for system in SYSTEMS[2:5]]
    fastest = min((peer for peer in peers if peer), key=lambda peer: peer.median_s, default=None)
    online = find(rows, phase="online", system="privinf", **key)
    total = find(rows, phase="total", system="privinf", **key)
    many = find(rows, phase="total", system="privinf", workload=SUSTAINED, network="loopback")
    if not (online and total):
        return ""
    words = (
        f"With preparations kept ahead, 20 layers took {many.median_s:.2f} s each, everything included. "
        if many
        else ""
    )
    if fastest is None:
        return words
    times = (
        f"The fastest peer on loopback, {NAMES[fastest.system]}, takes {fastest.median_s / online.median_s:.1f} times "
        f"as long as ours online and {fastest.median_s / total.median_s:.1f} times as long as ours in total"
    )
    more = f", {fastest.median_s / many.median_s:.1f} times with preparations kept ahead" if many else ""
    return f"{words}{times}{more}."


def section(result: dict[str, Any]) -> str:
    """Everything between the markers."""
    rows, machine = result["rows"], result["machine"]
    where = f"{machine['cores']} cores, {machine['memory_gb']:.0f} GB, {machine['kernels']} kernels"
    commit = str(result["commit"]["id"])[:12]
    intro = (
        f"Measured {result['date']} at commit {commit}, {where}, load {machine['load_before']} before; medians, "
        f"with extremes in brackets. {result['workload_note'].capitalize()}."
    )
    parts = {
        "One BERT-base encoder layer, 128 tokens:": of_layer(rows),
        "Gates at its shapes, seconds on loopback:": of_gates(rows),
        "Whole models, loopback, TLS; queries through the SDK where a tokenizer is at hand:": of_models(rows),
        "What the seconds do not include:": leaves_out(rows),
    }
    blocks = [intro, ratios(rows)]
    for title, lines in parts.items():
        blocks += [title, "\n".join(lines)] if lines else []
    return "\n\n".join(block for block in blocks if block)


def small(result: dict[str, Any]) -> str:
    """The README's one sentence: seconds of a small model."""
    key = {"workload": SMALL, "batch": 1, "network": "loopback"}
    online, total, clear = (
        find(result["rows"], system=system, phase=phase, **key)
        for system, phase in (("privinf", "online"), ("privinf", "total"), ("torch-float32", "total"))
    )
    if not (online and total and clear):
        raise MeasureError(f"the result has no seconds of {SMALL}: measure it, or take another result")
    where = f"all servers on one machine with {result['machine']['cores']} cores"
    when = f"measured {result['date']} at commit {result['commit']['id'][:12]}"
    return (
        f"On loopback with TLS, a text of {total.tokens} tokens takes {online.median_s:.2f} s online and "
        f"{total.median_s:.2f} s in total\nwith private weights (float32 in the clear: {clear.median_s:.3f} s), "
        f"{where}, {when}."
    )


def rewritten(text: str, name: str, body: str) -> str:
    """The document with what stands between its markers replaced; MeasureError where it has none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if not 0 <= text.find(begin) < text.find(end):
        raise MeasureError(f"the document lacks the markers {begin} and {end}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{body}\n{end}{after}"


def documents(result: dict[str, Any]) -> dict[Path, str]:
    """What each document should say."""
    said = {README: ("small", small(result)), SPEED: ("bench", section(result))}
    return {path: rewritten(path.read_text(encoding="utf-8"), *what) for path, what in said.items()}


def _network(name: str) -> str:
    plain = name.removesuffix("+dealer")
    return LINKS[plain] + (", dealer's links too" if name != plain else "")


def _network_order(name: str) -> tuple[int, str]:
    return NETWORKS.index(name.removesuffix("+dealer")), name


def main() -> int:
    """Rewrite the documents; with --check only say whether they would change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report.table", description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "bench.json")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    new = documents(read(given.json))
    if given.check:
        return 0 if all(text == path.read_text(encoding="utf-8") for path, text in new.items()) else 1
    for path, text in new.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
