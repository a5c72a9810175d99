"""Draws attacks.json: what each attack reads at best, and how known plaintext grows with its seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from privinf.equivariant.attacks.report import EXACT, headline, in_all, percent
from privinf.errors import MissingExtra

Result = Mapping[str, Any]
Rows = Sequence[tuple[int, Result]]
SALT = "privinf"  # the same JSON gives the same file
BARS, SEEDS = "attacks.svg", "seeds.svg"
LINES = {
    "occurrences": "occurrences of other tokens",
    "vocabulary": "vocabulary entries, others",
    "in_all": "occurrences in all, told or read",
}


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
    drawings = {f"{prefix}{BARS}": _bars(result), f"{prefix}{SEEDS}": _seeds(result)}
    kept = {name: figure for name, figure in drawings.items() if figure is not None}
    for name, figure in kept.items():
        save(figure, folder / name)
    return list(kept)


def save(figure: Any, path: Path) -> None:
    """Whole or not at all, and without the day."""
    part = path.with_name(f"{path.name}.part")
    figure.savefig(part, format="svg", metadata={"Date": None})
    os.replace(part, path)
    require().close(figure)


def _bars(result: Result) -> Any:
    best = [(attack, found) for attack in result["attacks"] if (found := headline(attack))]
    if not best:
        return None
    figure, axes = require().subplots(figsize=(7.5, 1.2 + 0.4 * len(best)), layout="constrained")
    names = [f"{attack['label']} {attack['name']}" for attack, _ in best]
    bars = axes.barh(names, [100 * share for _, (_, _, share) in best], color="tab:red")
    for bar, (_, (_, measure, _)) in zip(bars, best, strict=True):
        bar.set_hatch("//" if measure == "vocabulary" else None)
    axes.bar_label(bars, [label(attack) for attack, _ in best], padding=4, fontsize=8)
    axes.set_xlim(0, 175)
    axes.set_xticks(range(0, 101, 20))
    axes.invert_yaxis()
    axes.set_title(f"{_named(result)}: tokens of text read at best, %", fontsize=10)
    return figure


def label(attack: Result) -> str:
    """Of a bar: the share and, where it is not of running text, of what."""
    best = headline(attack)
    assert best is not None
    variant, measure, share = best
    exact = attack["found"][variant].get(EXACT)
    if exact is not None:
        return f"{percent(share)} of prompts' tokens; {percent(exact)} of prompts whole"
    return f"{percent(share)} of entries" if measure == "vocabulary" else percent(share)


def _seeds(result: Result) -> Any:
    rows = next(filter(None, map(_seeded, result["attacks"])), None)
    if rows is None:
        return None
    figure, axes = require().subplots(figsize=(5.5, 3.4), layout="constrained")
    for measure, points in lines(rows).items():
        axes.plot(*zip(*points, strict=True), "o-", label=LINES[measure])
    axes.axvline(result["width"], color="tab:grey", linestyle=":", label="width of the model")
    axes.set(xlabel="tokens known", ylabel="read, %", ylim=(-2, 104))
    axes.set_title(f"known plaintext: {_named(result)}", fontsize=10)
    axes.legend(fontsize=8)
    return figure


def lines(rows: Rows) -> dict[str, list[tuple[int, float]]]:
    """Of rows by how many seeds they had, the points to draw: none where all was told and nothing left to score."""
    whole = [(count, {**row, "in_all": in_all(row)}) for count, row in rows]
    found = {
        measure: [(count, 100 * row[measure]) for count, row in whole if row.get(measure) is not None]
        for measure in LINES
    }
    return {measure: points for measure, points in found.items() if points}


def _seeded(attack: Result) -> Rows:
    """Rows by how many seeds they had, the fewest first."""
    seeds = attack["facts"].get("seeds", {})
    return [(seeds[name], attack["found"][name]) for name in sorted(seeds, key=lambda name: seeds[name])]


def _named(result: Result) -> str:
    noise = f", alpha_e {result['noise']['alpha_e']:g}" if result["noise"] else ""
    return f"{result['model']}, level {result['level']}{noise}"
