"""Writes docs/attacks from the JSON under benchmarks/results, and from nothing else: a page a model and level, and one
over all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from privinf.equivariant.attacks import plots, report
from privinf.equivariant.attacks.registry import ATTACKS
from privinf.equivariant.levels import LEVELS, WARNING

PAGES = machine.ROOT / "docs" / "attacks"
PREFIX, REPRODUCED = "ee-attacks-", "ee-reproduced"
OVERVIEW = "overview.svg"
Result = dict[str, Any]

ABOUT = """\
Written by `python -m benchmarks.equivariant_attacks --pages` from the JSON under `benchmarks/results`. Each cell is the
share of token occurrences that the attack's best variant reads; A5 counts prompts that are right in every token. A
dash: the attack is not possible there. `privinf ee attack` runs the same on any model."""
READ = """\
* `known-plaintext` and `inversion` are scored on tokens that the attacker was not told.
* At level `session` no token ids pass by, yet the covered layers do, and public weights undo their covers: `body` needs
  neither a key nor a known token. The level helps only where the plain weights are secret.
* Level `noise` has its noise on embedding and head. The layers have none, so that `body` takes every cover off and
  leaves the noise, through which the closest token can still be told.
* `frequency` needs no weights at all. Where one key serves many texts, no cover and no noise helps against it."""


def write_pages(results: Path, pages: Path) -> Iterator[str]:
    """Every page whose result is there; yields the files' names."""
    found = [
        (path.stem.removeprefix(PREFIX), _load(path)) for path in sorted(results.glob(f"{PREFIX}*.json"))
    ]
    found.sort(key=lambda pair: (pair[1]["model"], tuple(LEVELS).index(pair[1]["level"]), pair[0]))
    pages.mkdir(parents=True, exist_ok=True)
    for name, result in found:
        page = report.render(_dated(result), plots.draw(result, pages, f"{name}-"))
        (pages / f"{name}.md").write_text(page, encoding="utf-8")
        yield f"{name}.md"
    if found:
        _draw(found, pages / OVERVIEW)
        extra = results / f"{REPRODUCED}.json"
        (pages / "README.md").write_text(_overview(found, _load(extra) if extra.exists() else None), "utf-8")
        yield "README.md"


def _load(path: Path) -> Result:
    loaded: Result = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _dated(result: Result) -> Result:
    """The level with its settings, where it has some."""
    if "noise" not in result:
        return result
    noise = result["noise"]
    said = f"; here alpha_e {noise['alpha_e']:g}, alpha_h {noise['alpha_h']:g}, padding {noise['padding']}"
    return result | {"says": result["says"] + said}


def _overview(found: Sequence[tuple[str, Result]], reproduced: Result | None) -> str:
    lines = ["# What attacks read of the equivariant mode", "", f"**{WARNING[0].upper()}{WARNING[1:]}.**", ""]
    lines += [ABOUT, "", f"![overview]({OVERVIEW})", ""]
    lines += ["| model and level | " + " | ".join(f"{a.label} {a.name}" for a in ATTACKS.values()) + " |"]
    lines += ["|---|" + "--:|" * len(ATTACKS)]
    for name, result in found:
        cells = [report.percent(share) for share in _shares(result)]
        lines += [f"| [{name}]({name}.md) | " + " | ".join(cells) + " |"]
    lines += ["", READ, "", f"For comparison: {report.PUBLISHED}", ""]
    return "\n".join(lines + (_reproduced(reproduced) if reproduced else []))


def _shares(result: Result) -> list[float | None]:
    best = {attack["name"]: report.headline(attack) for attack in result["attacks"]}
    return [found[2] if (found := best.get(name)) else None for name in ATTACKS]


def _reproduced(result: Result) -> list[str]:
    """Published settings that are no level of ours."""
    lines = [
        "## Published settings",
        "",
        "Prompts decoded from hidden states whose channels were permuted:",
        "",
    ]
    lines += ["| model | text | layer | exact prompts | tokens | candidates a token | prompts |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|"]
    for row in result["permuted"]:
        shares = f"{report.percent(row['exact_prompts'])} | {report.percent(row['occurrences'])}"
        cells = (row["model"], row["text"], row["layer"], shares, f"{row['candidates']:.0f}", row["prompts"])
        lines += ["| " + " | ".join(map(str, cells)) + " |"]
    lines += [
        "",
        "Token ids alone, by how many pass by; reference and stream are halves of one collection:",
        "",
    ]
    lines += [
        "| model | tokens | by rank | by neighbours | among ten | among a hundred |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in result["counted"]:
        cells = ("rank", "neighbours", "neighbours_top10", "neighbours_top100")
        shares = " | ".join(report.percent(row[cell]) for cell in cells)
        lines += [f"| {row['model']} | {row['tokens']:,} | {shares} |"]
    return [*lines, ""]


def _draw(found: Sequence[tuple[str, Result]], path: Path) -> None:
    """A field of shares, red where much is read."""
    pyplot = plots.require()
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.3 * len(found)), layout="constrained")
    shares = [[float("nan") if s is None else 100 * s for s in _shares(result)] for _, result in found]
    axes.imshow(shares, cmap="Reds", vmin=0, vmax=140, aspect="auto")
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            axes.text(x, y, "-" if share != share else f"{share:.1f}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(ATTACKS)), [f"{a.label}\n{a.name}" for a in ATTACKS.values()], fontsize=8)
    axes.set_yticks(range(len(found)), [name for name, _ in found], fontsize=8)
    axes.set_title("token occurrences read, % (A5: exact prompts)", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
