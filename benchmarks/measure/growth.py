"""How costs grow with tokens, width and batch: declared ones exactly, seconds and memory where that is feasible."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import machine, ours
from benchmarks.harness.rows import Row
from benchmarks.workloads import encoder_layer
from benchmarks.workloads.encoder_layer import Size
from privinf.errors import ModelError

BASE = Size(1, 768, 128)
AXES: dict[str, tuple[Size, tuple[int, ...]]] = {
    "tokens": (BASE, (32, 64, 128, 256, 512, 1024)),
    "width": (BASE, (128, 256, 384, 512, 768, 1024)),
    "batch": (replace(BASE, tokens=32), (1, 2, 4, 8, 16, 32)),
}
FEASIBLE_ROWS = 1024  # tokens times batch of a measured layer: what one query may hold
GRID_WIDTHS = (256, 384, 768)
WHY_NOT = f"more than {FEASIBLE_ROWS} rows: declared costs only, as no query holds so many"
DECLARED = ("rounds", "online_bytes", "preparation_bytes")
MEASURED = ("online_s", "offline_s", "total_s", "peak_bytes")


def sizes(axis: str) -> list[Size]:
    """The layers along an axis."""
    base, values = AXES[axis]
    return [replace(base, **{axis: value}) for value in values]


def declared(size: Size) -> dict[str, Any]:
    """Exact costs of one layer under the plan that its own ranges give; ModelError where no plan fits."""
    plan, _ = encoder_layer.in_clear(size, encoder_layer.weights(size))
    cost = encoder_layer.workload(size.name, size, plan).cost
    return {
        **asdict(size),
        "rounds": cost.rounds,
        "online_bytes": cost.online,
        "preparation_bytes": max(cost.prep0, cost.prep1),
    }


def fit(xs: Sequence[float], ys: Sequence[float]) -> dict[str, float]:
    """Least squares of log y = exponent * log x + c: the exponent, and the largest ratio of a point to its fit."""
    logs, values = np.log(np.asarray(xs, dtype=np.float64)), np.log(np.asarray(ys, dtype=np.float64))
    exponent, constant = np.polyfit(logs, values, 1)
    off = np.exp(np.abs(values - exponent * logs - constant).max())
    return {
        "exponent": round(float(exponent), 4) + 0.0,
        "factor": float(np.exp(constant)),
        "off_by": float(off),
    }


def fits(axis: str, points: Iterable[dict[str, Any]], quantities: Sequence[str]) -> list[dict[str, Any]]:
    """One fit for each quantity that has three points or more."""
    chosen, out = list(points), []
    for quantity in quantities:
        known = [(p[axis], p[quantity]) for p in chosen if p.get(quantity)]
        if len(known) >= 3:
            out.append(
                {"axis": axis, "quantity": quantity, "points": len(known), **fit(*zip(*known, strict=True))}
            )
    return out


def count(axis: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Declared costs along an axis, and what could not be planned."""
    points, refused = [], []
    for size in sizes(axis):
        try:
            points.append({"axis": axis, **declared(size)})
        except ModelError as error:
            refused.append({"axis": axis, **asdict(size), "why": str(error)})
    return points, refused


def point(size: Size, rows: Sequence[Row]) -> dict[str, Any]:
    """A measured layer's figures beside its sizes."""
    by_phase = {row.phase: row for row in rows}
    seconds = {f"{phase}_s": row.median_s for phase, row in by_phase.items()}
    return {**asdict(size), **seconds, "peak_bytes": by_phase["total"].peak_bytes}


def to_measure() -> list[Size]:
    """Every feasible layer of the axes, and the grid of widths by tokens."""
    chosen = [size for axis in AXES for size in sizes(axis)]
    chosen += [replace(BASE, width=w, tokens=t) for w in GRID_WIDTHS for t in AXES["tokens"][1]]
    return [size for size in dict.fromkeys(chosen) if size.tokens * size.batch <= FEASIBLE_ROWS]


def measure(chosen: Sequence[Size], repeat: int) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows and points of each layer, each by fresh processes, so that peak memory is its own."""
    rows: list[Row] = []
    points = []
    for size in chosen:
        done = ours.measure(size.name, repeat=repeat)
        rows += done
        points.append(point(size, done))
        print(f"{size.name}: online {points[-1]['online_s']:.2f} s", file=sys.stderr, flush=True)
    return rows, points


def report(repeat: int, chosen: Sequence[Size]) -> dict[str, Any]:
    """Everything that the plots and the tables of growth are drawn from."""
    points: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    fitted: list[dict[str, Any]] = []
    rows, measured = measure(chosen, repeat)
    for axis in AXES:
        counted, refused = count(axis)
        there = [found for found in measured if _along(axis, found)]
        points, skipped = points + counted, skipped + refused
        skipped += [{"axis": axis, **asdict(s), "why": WHY_NOT} for s in sizes(axis) if s not in chosen]
        fitted += fits(axis, counted, DECLARED) + fits(axis, there, MEASURED)
    return {
        "title": "Growth of one encoder layer with tokens, width and batch",
        "workload_note": "one layer of BERT's form, heads of 64, FFN of four times the width, made-up weights",
        "rows": [asdict(row) for row in rows],
        "declared": points,
        "measured": measured,
        "fits": fitted,
        "not_run": skipped,
    }


def _along(axis: str, found: dict[str, Any]) -> bool:
    """Whether a measured point lies on an axis."""
    return any(all(found[k] == v for k, v in asdict(size).items()) for size in sizes(axis))


def main() -> None:
    """Write growth.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.growth", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--declared-only", action="store_true", help="count, and measure nothing")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "growth.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    about = machine.about()
    result = report(given.repeat, [] if given.declared_only else to_measure())
    machine.write(given.json, result | about)
    for line in result["fits"]:
        print(f"{line['quantity']} ~ {line['axis']}^{line['exponent']:.2f} ({line['points']} points)")


if __name__ == "__main__":
    main()
