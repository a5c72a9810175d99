"""Writes where a preparation's seconds go into docs/speed.md, from the result's JSON alone."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.report.decoder_table import SPEED, read, table
from benchmarks.report.table import rewritten

LABELS = ("before", "after")
ROLES = {"dealer": "dealer", "party0": "party 0", "party1": "party 1"}
LEAST = 0.5  # milliseconds that a stage takes in some run to be listed
Figures = dict[str, Any]


def whole(name: str, runs: dict[str, Figures]) -> str:
    """Seconds of all of it, and what was measured."""
    said = []
    for label, found in runs.items():
        s = found["seconds"]
        said.append(
            f"{label}: prepared in {s['prepare']:.2f} s, waited for {s['offline']:.2f}, online {s['online']:.2f}, "
            f"in all {s['total']:.2f} (commit {str(found['commit']['id'])[:12]})"
        )
    mb = " and ".join(f"{nbytes / 1e6:.1f}" for nbytes in next(iter(runs.values()))["preparation_bytes"])
    return f"{name}, {mb} MB for party 0 and 1; {'; '.join(said)}."


def stages(runs: dict[str, Figures]) -> str:
    """Milliseconds by role and stage: of the clock, and of the processor in brackets."""
    rows = []
    for role, title in ROLES.items():
        found = [run["milliseconds"][role] for run in runs.values()]
        names = sorted(
            {name for one in found for name in one}, key=lambda name: (name == "whole process", name)
        )
        for name in names:
            each = [one.get(name, {}) for one in found]
            if max(max(one.values(), default=0.0) for one in each) >= LEAST:
                rows.append([title, name, *map(_cell, each)])
    return table(["role", "stage", *runs], rows)


def _cell(one: dict[str, float]) -> str:
    if not one:
        return ""
    return f"{one['wall']:.0f} ({one['cpu']:.0f})" if "wall" in one else f"({one['cpu']:.0f})"


def section() -> str:
    """Everything between the markers."""
    result, parts = read("offline.json"), []
    for name in next(iter(result["runs"].values())) if result else ():
        assert result is not None
        runs = {
            label: result["runs"][label][name] for label in LABELS if name in result["runs"].get(label, {})
        }
        parts += [whole(name, runs), stages(runs)]
    return "\n\n".join(parts)


def main() -> None:
    """Put the tables between their markers."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.report.offline_table", description=__doc__
    ).parse_args()
    SPEED.write_text(rewritten(SPEED.read_text(encoding="utf-8"), "offline", section()), encoding="utf-8")


if __name__ == "__main__":
    main()
