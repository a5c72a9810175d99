"""Draws every plot of the documents from the JSON under benchmarks/results, and from nothing else."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.harness.machine import RESULTS, ROOT
from benchmarks.harness.rows import DEALER_TOO, NETWORKS

mpl.use("Agg")
from matplotlib import pyplot as plt

FIGURES = ROOT / "docs" / "figures"
LAYER = "bert-base-layer-128"
MODELS = ("minilm", "mpnet")
UNITS = {"_s": ("seconds", 1.0), "_bytes": ("MB", 1e6), "rounds": ("rounds", 1.0)}
QUANTITIES = (
    ("online_s", "time online"),
    ("total_s", "time in all"),
    ("online_bytes", "bytes online"),
    ("preparation_bytes", "preparation"),
    ("peak_bytes", "peak memory"),
    ("rounds", "rounds"),
)
Result = dict[str, Any]


def main() -> None:
    """Write the PNGs of each result that is there."""
    print_drawn("plots", __doc__, draw_all)


def print_drawn(module: str, help_text: str | None, draw: Callable[[Path, Path], list[str]]) -> None:
    """Run a module of plots as a command: read where results and figures lie, draw, and print the files' names."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.report.{module}", description=help_text)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    given = parser.parse_args()
    for name in draw(given.results, given.figures):
        print(name)


def draw_all(results: Path, figures: Path) -> list[str]:
    """Every plot whose result is there; returns the files' names."""
    figures.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, figure, draw in DRAWINGS:
        source = results / f"{name}.json"
        if source.exists() and draw(
            json.loads(source.read_text(encoding="utf-8")), figures / f"{figure}.png"
        ):
            drawn.append(f"{figure}.png")
    return drawn


def of_phase(rows: Sequence[Result], phases: Sequence[str], **key: Any) -> list[Result]:
    """Rows of the first phase that a key has, for each system."""
    found: dict[tuple[str, str], Result] = {}
    for phase in phases:
        for row in rows:
            if row["phase"] == phase and all(row[k] == v for k, v in key.items()):
                found.setdefault((row["workload"], row["system"]), row)
    return list(found.values())


def draw_layer(result: Result, path: Path) -> bool:
    """Seconds of one BERT-base layer on each network: ours online and in all, beside each peer."""
    rows = [row for row in result["rows"] if row["workload"] == LAYER]
    present = {row["network"].removesuffix(DEALER_TOO) for row in rows}
    networks = [network for network in NETWORKS if network in present]
    if not networks:
        return False
    figure, panels = _grid(len(networks), 2, (6.0, 3.4))
    for axes, network in zip(panels, networks, strict=True):
        bars = _of_network(rows, network, "")
        bars += _of_network(rows, network + DEALER_TOO, ", dealer's links too")
        _bars(axes, bars)
        axes.set_title(network, fontsize=10)
    figure.suptitle("one BERT-base layer, 128 tokens: seconds, median and extremes")
    return _save(figure, path)


def _of_network(rows: Sequence[Result], network: str, said: str) -> list[tuple[str, Result]]:
    """Bars of a network: online, where that is apart, then in all."""
    online = of_phase(rows, ("online",), network=network)
    total = of_phase(rows, ("total",), network=network)
    phased = {row["system"] for row in online} & {row["system"] for row in total}
    bars = [(f"{row['system']}, online{said}", row) for row in online if row["system"] in phased]
    return bars + [
        (row["system"] + said, row) for row in of_phase(rows, ("total", "online"), network=network)
    ]


def _grid(count: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """As many panels of a size, in rows."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), layout="constrained", squeeze=False
    )
    for unused in panels.flat[count:]:
        unused.set_visible(False)
    return figure, list(panels.flat[:count])


def plain(axis: Any) -> None:
    """Write a logarithmic axis as numbers, not as powers."""
    axis.set_major_formatter("{x:g}")


def draw_gates(result: Result, path: Path) -> bool:
    """Seconds of single gates on loopback, a panel each."""
    apart = ("bert", "layers", *MODELS)
    rows = [r for r in result["rows"] if r["network"] == "loopback" and not r["workload"].startswith(apart)]
    gates = list(dict.fromkeys(row["workload"] for row in rows))
    if not gates:
        return False
    figure, panels = _grid(len(gates), 2, (5.5, 2.4))
    for axes, gate in zip(panels, gates, strict=True):
        bars = [
            ("privinf, online", row) for row in of_phase(rows, ("online",), workload=gate, system="privinf")
        ]
        bars += [(row["system"], row) for row in of_phase(rows, ("total", "online"), workload=gate)]
        _bars(axes, bars)
        least, most = min(row["min_s"] for _, row in bars), max(row["max_s"] for _, row in bars)
        if most > 10 * least:
            axes.set_xscale("log")
            axes.set_xlim(0.5 * least, 4 * most)
        axes.set_title(f"{gate}, seconds", fontsize=10)
    return _save(figure, path)


def _bars(axes: Any, bars: Sequence[tuple[str, Result]]) -> None:
    values = [row["median_s"] for _, row in bars]
    spread = [[v - row["min_s"] for v, (_, row) in zip(values, bars, strict=True)]]
    spread += [[row["max_s"] - v for v, (_, row) in zip(values, bars, strict=True)]]
    colours = ["tab:blue" if name.startswith("privinf") else "tab:grey" for name, _ in bars]
    drawn = axes.barh(
        [name for name, _ in bars], values, xerr=spread, color=colours, ecolor="black", capsize=2
    )
    axes.bar_label(drawn, fmt="%.3g", padding=4, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.margins(x=0.2)


def draw_batches(result: Result, path: Path) -> bool:
    """Texts a second against how many are asked at once."""
    rows = [r for r in result["rows"] if r["workload"].startswith(MODELS) and r["phase"] == "total"]
    series: dict[str, list[Result]] = {}
    for row in rows:
        series.setdefault(f"{row['workload']}, {row['system']}", []).append(row)
    series = {name: found for name, found in series.items() if len(found) > 1}
    if not series:
        return False
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for name, found in series.items():
        found.sort(key=lambda row: row["batch"])
        axes.plot(
            [r["batch"] for r in found], [r["batch"] / r["median_s"] for r in found], marker="o", label=name
        )
    axes.set_xscale("log", base=2)
    plain(axes.xaxis)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("texts asked at once")
    axes.set_ylabel("texts a second, all in")
    axes.legend()
    return _save(figure, path)


def growth(axis: str) -> Callable[[Result, Path], bool]:
    """A plot of every quantity against one axis, with the exponents that were fitted."""

    def draw(result: Result, path: Path) -> bool:
        fits = {line["quantity"]: line for line in result["fits"] if line["axis"] == axis}
        declared = [point for point in result["declared"] if point["axis"] == axis]
        steady = (
            {key: declared[0][key] for key in ("width", "tokens", "batch") if key != axis} if declared else {}
        )
        measured = [p for p in result["measured"] if all(p[k] == v for k, v in steady.items())]
        figure, panels = plt.subplots(2, 3, figsize=(10, 5.5), layout="constrained")
        for axes, (quantity, label) in zip(panels.flat, QUANTITIES, strict=True):
            points = sorted((p[axis], p[quantity]) for p in declared + measured if p.get(quantity))
            _grown(axes, points, fits.get(quantity), quantity, label)
            axes.set_xlabel(axis)
        rest = ", ".join(f"{key} {value}" for key, value in steady.items())
        figure.suptitle(f"one encoder layer against {axis}; {rest}")
        return _save(figure, path)

    return draw


def _grown(
    axes: Any, points: Sequence[tuple[float, float]], fit: Result | None, quantity: str, label: str
) -> None:
    axes.set_visible(bool(points))
    name, unit = next(value for end, value in UNITS.items() if quantity.endswith(end))
    axes.plot([x for x, _ in points], [y / unit for _, y in points], "o")
    if fit is not None:
        ends = (points[0][0], points[-1][0])
        line = [fit["factor"] * x ** fit["exponent"] / unit for x in ends]
        axes.plot(ends, line, "--", label=f"exponent {fit['exponent'] + 0.0:.2f}")
        axes.legend(fontsize=8)
    if points and quantity != "rounds":
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        plain(axes.xaxis)
        plain(axes.yaxis)
    elif points:
        axes.set_ylim(0, 1.3 * max(y for _, y in points))
    axes.set_title(f"{label}, {name}" if label != name else label, fontsize=9)


def draw_fidelity(result: Result, path: Path) -> bool:
    """Seconds of a query against its tokens, in shares over real processes, offline and online apart."""
    rows = result["shares"]["buckets"]
    tokens = [row["tokens"] for row in rows]
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for key, label in (("online_s", "online"), ("offline_s", "offline")):
        axes.plot(tokens, [row[key] / row["texts"] for row in rows], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    plain(axes.yaxis)
    axes.set_xticks(tokens, [str(t) for t in tokens])
    axes.set_xlabel("length bucket, tokens")
    axes.set_ylabel("seconds a text")
    axes.set_title("MiniLM embeddings, private weights, three processes")
    axes.legend()
    return _save(figure, path)


def _save(figure: Any, path: Path) -> bool:
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


DRAWINGS: tuple[tuple[str, str, Callable[[Result, Path], bool]], ...] = (
    ("bench", "layer", draw_layer),
    ("bench", "gates", draw_gates),
    ("bench", "batches", draw_batches),
    *(("growth", f"growth-{axis}", growth(axis)) for axis in ("tokens", "width", "batch")),
    ("fidelity-private", "fidelity-private", draw_fidelity),
)

if __name__ == "__main__":
    main()
