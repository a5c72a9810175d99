"""Writes the table of vision transformers in docs/search.md, from results/vit-paper.json alone."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report.table import rewritten

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "vit-paper.json"
PAGE = ROOT / "docs" / "search.md"
TITLES = {
    "cifar10": "CIFAR-10, 7 layers of 256, 65 rows",
    "tiny-imagenet": "Tiny-ImageNet, 9 layers of 192, 257 rows",
}
# Seconds of the paper's models in SPU of early 2023, over a WAN, by the paper's repository
PAPER = {
    "cifar10": {
        "softmax": 112.23,
        "relu_softmax": 71.82,
        "mu-0.7": 63.56,
        "mu-0.5": 58.66,
        "mu-0.3": 52.88,
        "mu-0.1": 48.03,
        "scaling": 44.63,
    },
    "tiny-imagenet": {
        "softmax": 1370.61,
        "relu_softmax": 1128.39,
        "mu-0.7": 823.74,
        "mu-0.1": 220.69,
        "scaling": 121.57,
    },
}
HEAD = (
    "| attention | rounds | sent by a party, MB | larger preparation, MB | LAN online / total, s | "
    "WAN online / total, s | WAN total, softmax = 1 | the paper's |"
)


def section() -> str:
    """Everything between the markers."""
    result = json.loads(RESULT.read_text("utf-8"))
    return "\n\n".join(
        f"{TITLES[data]}:\n\n" + "\n".join((HEAD, "|" + " --- |" * 8, *rows(result["cases"], data)))
        for data in TITLES
    )


def rows(cases: dict[str, Any], data: str) -> Iterator[str]:
    """A line for each architecture that was measured on both networks."""
    names = [case["name"] for case in cases.values() if case["data"] == data and case["network"] == "wan"]
    base = cases[f"{data}/softmax/wan"]["total"]["median"]
    for name in names:
        lan, wan = (cases.get(f"{data}/{name}/{network}") for network in ("lan", "wan"))
        if lan is None or wan is None:
            continue
        paper = PAPER[data].get(name)
        theirs = "" if paper is None else f"{PAPER[data]['softmax'] / paper:.2f}"
        yield (
            f"| {name} | {wan['rounds']} | {wan['online_bytes'] / 1e6:.1f} | {wan['prep_bytes'] / 1e6:.1f} | "
            f"{seconds(lan)} | {seconds(wan)} | {base / wan['total']['median']:.2f} | {theirs} |"
        )


def seconds(case: dict[str, Any]) -> str:
    return f"{case['online']['median']:.2f} / {case['total']['median']:.2f}"


def main() -> None:
    """Put the tables between their markers."""
    argparse.ArgumentParser(prog="python -m benchmarks.report.vision_table", description=__doc__).parse_args()
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), "vision", section()), "utf-8")


if __name__ == "__main__":
    main()
