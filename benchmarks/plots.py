"""Draws every plot of the documents from the JSON under benchmarks/results, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.machine import RESULTS, ROOT

mpl.use("Agg")
from matplotlib import pyplot as plt

FIGURES = ROOT / "docs" / "figures"


def main() -> None:
    """Write one PNG for each result that has a plot."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, draw in (("layer", draw_layer), ("fidelity-private", draw_fidelity)):
        source = RESULTS / f"{name}.json"
        if source.exists():
            draw(json.loads(source.read_text(encoding="utf-8")), FIGURES / f"{name}.png")


def draw_layer(result: dict[str, Any], path: Path) -> None:
    """Seconds of one BERT-base layer: ours online and with the dealer, beside each mode of SPU."""
    mine = result["ours"]
    bars = {
        "privinf, online": mine["online_s"]["median"],
        "privinf, dealer included": mine["total_s"]["median"],
    }
    bars |= {f"SPU {name}": seconds for name, seconds in result["spu_median_s"].items()}
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    colours = ["tab:blue"] * 2 + ["tab:grey"] * (len(bars) - 2)
    drawn = axes.barh(list(bars), list(bars.values()), color=colours)
    axes.bar_label(drawn, fmt="%.2f s", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("seconds, median, loopback, all processes on two cores")
    axes.set_title(result["workload"])
    axes.margins(x=0.12)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_fidelity(result: dict[str, Any], path: Path) -> None:
    """Seconds of a query against its tokens, in shares over real processes, offline and online apart."""
    rows = result["shares"]["buckets"]
    tokens = [row["tokens"] for row in rows]
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for key, label in (("online_s", "online"), ("offline_s", "offline")):
        axes.plot(tokens, [row[key] / row["texts"] for row in rows], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(tokens, [str(t) for t in tokens])
    axes.set_xlabel("length bucket, tokens")
    axes.set_ylabel("seconds a text")
    axes.set_title("MiniLM embeddings, private weights, three processes")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
