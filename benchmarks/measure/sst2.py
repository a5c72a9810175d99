"""Measures what privacy costs in accuracy: a fine-tuned classifier on SST-2, private beside float32."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import machine
from benchmarks.measure.fidelity import F32, Subject, in_fixed, in_shares, spread
from benchmarks.workloads.finetune import Example, validation_rows
from privinf.errors import ConfigError
from privinf.formats.fetch import fetch

MOST_POINTS = 0.3  # percentage points of accuracy that may be lost or won


def compare(private: F32, clear: F32, rows: Sequence[Example]) -> dict[str, Any]:
    """Accuracy of both, and each sentence whose label they dispute with float32's margin for its own label."""
    truth = np.array([row.label for row in rows])
    mine, theirs = private.argmax(axis=-1), clear.argmax(axis=-1)
    margins = np.abs(clear[:, 1] - clear[:, 0])
    flips = [
        {"row": int(i), "margin": float(margins[i]), "right_in_clear": bool(theirs[i] == truth[i])}
        for i in np.flatnonzero(mine != theirs)
    ]
    accuracy, of_clear = float((mine == truth).mean()), float((theirs == truth).mean())
    return {
        "texts": len(rows),
        "accuracy": accuracy,
        "accuracy_float32": of_clear,
        "difference_points": 100 * (accuracy - of_clear),
        "flips": flips,
        "logit_error_max": float(np.abs(private - clear).max()),
        "margin_median": float(np.median(margins)),
    }


def measure(model: Path, fixed: int, shares: int) -> dict[str, Any]:
    """All sentences in the fixed interpreter, some of them in shares; 0 leaves one out."""
    subject = Subject.load(model, "private")
    if len(subject.spec.labels) != 2:
        raise ConfigError(f"{model} tells {len(subject.spec.labels)} labels apart: two are needed")
    rows = validation_rows(fetch("glue") / "sst2-validation.jsonl")
    clear = subject.clear(subject.tokenizer.encode([row.text for row in rows]))
    result: dict[str, Any] = {
        "what": "SST-2 validation, private logits against float32",
        "model": "all-MiniLM-L6-v2 fine-tuned by benchmarks.workloads.finetune",
        "weights": "private",
        "bars": {"difference_points": MOST_POINTS, "flips_in_shares": 0},
    }
    if fixed:
        chosen = spread(fixed, len(rows))
        said, buckets = in_fixed(subject, subject.tokenizer.encode([rows[i].text for i in chosen]))
        found = compare(said, clear[chosen], [rows[i] for i in chosen])
        met = abs(found["difference_points"]) <= MOST_POINTS
        result["fixed"] = {**found, "met": met, "buckets": buckets}
    if shares:
        chosen = spread(shares, len(rows))
        said, buckets = in_shares(subject, [rows[i].text for i in chosen])
        found = compare(said, clear[chosen], [rows[i] for i in chosen])
        result["shares"] = {**found, "met": not found["flips"], "buckets": buckets}
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.sst2", description=__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="what `python -m benchmarks.workloads.finetune` wrote"
    )
    parser.add_argument("--fixed", type=int, default=872, help="sentences in the fixed interpreter")
    parser.add_argument("--shares", type=int, default=40, help="sentences in shares over real processes")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "sst2.json", help="where to write")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about = machine.about()
    result = measure(given.model, given.fixed, given.shares)
    machine.write(given.json, result | about)
    parts = {name: result[name] for name in ("fixed", "shares") if name in result}
    for name, part in parts.items():
        print(name, {key: value for key, value in part.items() if key != "buckets"})
    return 0 if all(part["met"] for part in parts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
