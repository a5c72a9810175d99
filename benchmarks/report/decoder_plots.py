"""Draws the plots of private generation from the JSON under benchmarks/results, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.report.plots import print_drawn

mpl.use("Agg")
from matplotlib import pyplot as plt

Result = dict[str, Any]
PANELS = (
    ("online_seconds", "seconds online", 1.0),
    ("prepare_seconds", "seconds to prepare", 1.0),
    ("online_bytes", "MB online", 1e6),
    ("preparation_bytes", "MB prepared, larger party", 1e6),
)
COLOURS = {"online": "tab:blue", "sustained": "tab:cyan"}


def main() -> None:
    """Write the PNGs of each result that is there."""
    print_drawn("decoder_plots", __doc__, draw_all)


def draw_all(results: Path, figures: Path) -> list[str]:
    """Every plot whose result is there; returns the files' names."""
    figures.mkdir(parents=True, exist_ok=True)
    drawn = []
    for pattern, figure, draw in DRAWINGS:
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob(pattern))]
        if found:
            draw(found, figures / f"{figure}.png")
            drawn.append(f"{figure}.png")
    return drawn


def draw_rates(results: Sequence[Result], path: Path) -> None:
    """Tokens a second of each model and network, with preparations made beforehand and meanwhile."""
    bars = [
        (f"{r['model']}, {r['network']}, {pace}", pace, found)
        for r in results
        for pace, found in r["paces"].items()
    ]
    figure, axes = plt.subplots(figsize=(7, 1 + 0.4 * len(bars)), layout="constrained")
    values = [found["tokens_per_second"] for _, _, found in bars]
    ends = [found["token_seconds"] for _, _, found in bars]
    spread = [
        [value - 1 / end["max"] for value, end in zip(values, ends, strict=True)],
        [1 / end["min"] - value for value, end in zip(values, ends, strict=True)],
    ]
    colours = [COLOURS[pace] for _, pace, _ in bars]
    drawn = axes.barh([name for name, _, _ in bars], values, xerr=spread, color=colours, capsize=2)
    axes.bar_label(drawn, fmt="%.2f", padding=4, fontsize=8)
    axes.set_title("tokens a second: median of sessions and extremes")
    _finish(figure, axes, path)


def draw_step(results: Sequence[Result], path: Path) -> None:
    """Seconds of one layer in one decode step, ours beside SPU's, a panel for each network."""
    rows = results[0]["per_layer"]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure, panels = plt.subplots(
        1, len(networks), figsize=(3.8 * len(networks), 2.6), layout="constrained", squeeze=False
    )
    for axes, network in zip(panels[0], networks, strict=True):
        here = [row for row in rows if row["network"] == network]
        colours = ["tab:blue" if row["system"] == "privinf" else "tab:grey" for row in here]
        drawn = axes.barh([r["system"] for r in here], [r["seconds"] for r in here], color=colours)
        axes.bar_label(drawn, fmt="%.3g", padding=4, fontsize=8)
        axes.set_title(network)
        axes.invert_yaxis()
        axes.margins(x=0.25)
    keys = results[0]["cached_keys"]
    figure.suptitle(f"seconds a layer of a decode step, width 768, {keys} keys in the cache; ours online")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_long(results: Sequence[Result], path: Path) -> None:
    """Costs of a pass against the keys in the cache, with the lines that were fitted."""
    figure, panels = plt.subplots(2, 2, figsize=(9, 5.5), layout="constrained")
    for axes, (quantity, label, unit) in zip(panels.flat, PANELS, strict=True):
        for result in results:
            keys = [p["keys"] for p in result["passes"]]
            axes.plot(keys, [p[quantity] / unit for p in result["passes"]], ".", markersize=3)
            fit = result["fits"][quantity]
            line = [(fit["at_zero"] + fit["per_key"] * k) / unit for k in (keys[0], keys[-1])]
            said = f"{result['model']}: {fit['at_zero'] / unit:.3g} + {fit['per_key'] / unit:.2g} a key"
            axes.plot([keys[0], keys[-1]], line, "--", label=said)
        axes.set_title(label, fontsize=9)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("keys that a row attends to")
        axes.legend(fontsize=7)
    figure.suptitle("one token against the length of the cache")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_memory(results: Sequence[Result], path: Path) -> None:
    """Memory of each process over the sessions of a long run, from its start to when the last is at rest."""
    figure, panels = plt.subplots(
        1, len(results), figsize=(6 * len(results), 3.4), layout="constrained", squeeze=False
    )
    for axes, result in zip(panels[0], results, strict=True):
        memory = result["memory"]
        for role in ("dealer", "party0", "party1"):
            points = [memory[0][role]]
            for number, series in enumerate(result["memory_series"]):
                rest = [
                    at[role] for at in memory if at["when"] in (f"after close {number}", f"at rest {number}")
                ]
                points += [at[role] for at in series] + rest
            axes.plot([size / 1e6 for size in points], marker=".", label=role)
        axes.set_title(
            f"{result['model']}: {len(result['memory_series'])} sessions of {result['tokens']} tokens"
        )
        axes.set_xlabel("looks: start, every 16 passes, after each close, at rest")
        axes.set_ylabel("MB resident")
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_speculation(results: Sequence[Result], path: Path) -> None:
    """Bars of each group of prompts against the drafts of a pass: seconds for a token, or tokens for a pass in the
    clear."""
    lines = results[0]["medians"]
    key = "seconds_per_token" if "seconds_per_token" in lines[0] else "tokens_per_pass"
    networks = list(dict.fromkeys(line["network"] for line in lines))
    most = max(sum(line["network"] == network for line in lines) for network in networks)
    width = max(5.5, 0.42 * most)  # room for the number above each bar
    figure, panels = plt.subplots(
        len(networks), 1, figsize=(width, 3.4 * len(networks)), layout="constrained", squeeze=False
    )
    for axes, network in zip(panels[:, 0], networks, strict=True):
        here = [line for line in lines if line["network"] == network]
        groups = list(dict.fromkeys(line["group"] for line in here))
        drafts = list(dict.fromkeys(f"{line['draft']} {line['drafts']}" for line in here))
        for place, group in enumerate(groups):
            values = [line[key] for line in here if line["group"] == group]
            each = 0.84 / len(groups)
            at = [x + each * (place - (len(groups) - 1) / 2) for x in range(len(drafts))]
            axes.bar_label(axes.bar(at, values, width=0.95 * each, label=group), fmt="%.2f", fontsize=7)
        axes.set_xticks(range(len(drafts)), drafts, fontsize=8)
        axes.set_xlabel("drafts in a pass")
        axes.margins(y=0.1)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        where = network or "counted in the clear"
        axes.set_title(f"{key.replace('_', ' ')}, median of prompts, {where}", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.margins(x=0.2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


DRAWINGS: tuple[tuple[str, str, Callable[[Sequence[Result], Path], None]], ...] = (
    ("decoding-*.json", "decoding", draw_rates),
    ("decode-step.json", "decode-step", draw_step),
    ("long-session.json", "long-session", draw_long),
    ("long-session.json", "long-session-memory", draw_memory),
    ("speculation.json", "speculation", draw_speculation),
    ("speculation-clear.json", "speculation-clear", draw_speculation),
)

if __name__ == "__main__":
    main()
