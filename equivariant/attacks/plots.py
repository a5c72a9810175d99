"""Draws attacks.json: what each attack reads at best, and how known plaintext grows with its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privinf.equivariant.attacks.report import headline
from privinf.errors import MissingExtra

Result = Mapping[str, Any]
SALT = "privinf"  # the same JSON gives the same file
BARS, SEEDS = "attacks.svg", "seeds.svg"


def require() -> Any:
    """matplotlib, ready to draw into files.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtra('plots need matplotlib: pip install "privinf[bench]"') from error
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = SALT
    from matplotlib import pyplot

    return pyplot


def draw(result: Result, folder: Path, prefix: str = "") -> list[str]:
    """Write the plots that the result has numbers for; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {BARS: _bars(result), SEEDS: _seeds(result)}
    for name, figure in drawings.items():
        if figure is not None:
            figure.savefig(folder / f"{prefix}{name}", metadata={"Date": None})
            require().close(figure)
    return [f"{prefix}{name}" for name, figure in drawings.items() if figure is not None]


def _bars(result: Result) -> Any:
    best = [(attack, found) for attack in result["attacks"] if (found := headline(attack))]
    if not best:
        return None
    figure, axes = require().subplots(figsize=(7, 1.2 + 0.4 * len(best)), layout="constrained")
    names = [f"{attack['label']} {attack['name']}" for attack, _ in best]
    bars = axes.barh(names, [100 * share for _, (_, _, share) in best], color="tab:red")
    measures = [f"{100 * share:.1f} % {measure.replace('_', ' ')}" for _, (_, measure, share) in best]
    axes.bar_label(bars, measures, padding=4, fontsize=8)
    axes.set_xlim(0, 140)
    axes.set_xticks(range(0, 101, 20))
    axes.invert_yaxis()
    axes.set_title(f"{result['model']}, level {result['level']}: read at best, %", fontsize=10)
    return figure


def _seeds(result: Result) -> Any:
    rows = [attack for attack in result["attacks"] if attack["facts"].get("seeds")]
    if not rows:
        return None
    figure, axes = require().subplots(figsize=(5, 3.2), layout="constrained")
    seeds, found = rows[0]["facts"]["seeds"], rows[0]["found"]
    for measure, label in (("occurrences", "occurrences"), ("vocabulary", "vocabulary entries")):
        axes.plot(list(seeds.values()), [100 * found[name][measure] for name in seeds], "o-", label=label)
    axes.axvline(result["width"], color="tab:grey", linestyle=":", label="width of the model")
    axes.set(xlabel="tokens known", ylabel="other tokens read, %", ylim=(-2, 104))
    axes.set_title(f"known plaintext: {result['model']}, level {result['level']}", fontsize=10)
    axes.legend(fontsize=8)
    return figure
