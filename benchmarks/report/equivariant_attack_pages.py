"""Writes docs/attacks from the JSON under benchmarks/results, and from nothing else: a page a model and level, and one
over all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.report.equivariant_attack_comparison import comparison
from privinf.equivariant.attacks import plots, report
from privinf.equivariant.attacks.run import FORMAT
from privinf.equivariant.levels import LEVELS, WARNING

PAGES = machine.ROOT / "docs" / "attacks"
PREFIX, REPRODUCED = "ee-attacks-", "ee-reproduced"
OVERVIEW, INDEX = "overview.svg", "README.md"
Result = dict[str, Any]
Found = Sequence[tuple[str, Result]]

ABOUT = """\
Written by `python -m benchmarks.measure.equivariant_attacks --pages` from the JSON under `benchmarks/results`. Each
cell is the share of token occurrences that the attack's best variant reads; A5 is given short prompts one by one, and
the number in brackets is the share of them that are right in every token. A dash means not possible, for the reason
given on that page. Models are ordered by size, and the levels of each by how much they cover. Each row is one
conversion under one random key. `noise-free` is `noise` with alpha 0, so only key matrices; `noise-published` is
AloePri's own setting.

`privinf attack` runs the same attacks on any BERT, GPT-2 or Llama. It does not run on ViT, and nothing attacks the
labels and answers of classifiers: what those reveal is not measured."""
READ = """\
* `known-plaintext` and `inversion` are scored on tokens that the attacker was not told.
* At level `session` the server sees no token ids, but it does see the covered layers, and public weights undo their
  covers: `body` needs neither a key nor a known token. Nor do fresh covers keep sessions apart: a row has the same
  length under all of them, and the layers of two variants give the map from one's covers to the other's. Where rows
  hold no positions, `frequency` links sessions by lengths and counts tokens over all of them, without any plain
  weights.
* Level `noise` has its noise on embedding and head. The layers have none, so `body` removes every cover and leaves only
  the noise, through which the closest token can still be identified.
* `frequency` needs no weights of the public model. Where one key serves many texts, neither covers nor noise help
  against it."""


def write_pages(results: Path, pages: Path) -> Iterator[str]:
    """Every page and plot whose result is there; yields the files' names."""
    found = [
        (path.stem.removeprefix(PREFIX), _load(path)) for path in sorted(results.glob(f"{PREFIX}*.json"))
    ]
    found.sort(key=lambda pair: _order(*pair))
    pages.mkdir(parents=True, exist_ok=True)
    for name, result in found:
        drawn = plots.draw(result, pages, f"{name}-")
        _write(pages / f"{name}.md", report.render(result, drawn))
        yield from (f"{name}.md", *drawn)
    if found:
        _draw(found, pages / OVERVIEW)
        extra = results / f"{REPRODUCED}.json"
        _write(
            pages / INDEX, _overview(found, json.loads(extra.read_text("utf-8")) if extra.exists() else None)
        )
        yield from (OVERVIEW, INDEX)


def _load(path: Path) -> Result:
    loaded: Result = json.loads(path.read_text(encoding="utf-8"))
    if loaded["format"] != FORMAT:
        raise SystemExit(
            f"{path} is of format {loaded['format']}, not {FORMAT}: measure it anew, or remove it"
        )
    return loaded


def _order(name: str, result: Result) -> tuple[int, str, int, float, str]:
    """Small models first, then what covers more."""
    noise = result["noise"] or {"alpha_e": 0.0}
    level = tuple(LEVELS).index(result["level"])
    return result["parameters"], result["model"], level, noise["alpha_e"], name


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _overview(found: Found, reproduced: Result | None) -> str:
    columns = _columns(found)
    lines = ["# What attacks read of the equivariant mode", "", f"**{WARNING[0].upper()}{WARNING[1:]}.**", ""]
    lines += [ABOUT, "", f"![overview]({OVERVIEW})", ""]
    lines += ["| model and level | " + " | ".join(columns.values()) + " |"]
    lines += ["|---|" + "--:|" * len(columns)]
    for name, result in found:
        attacks = {attack["name"]: attack for attack in result["attacks"]}
        cells = [_cell(attacks.get(column)) for column in columns]
        lines += [f"| [{name}]({name}.md) | " + " | ".join(cells) + " |"]
    lines += ["", READ, "", *comparison(found)]
    return "\n".join(lines + (_reproduced(reproduced) if reproduced else []))


def _columns(found: Found) -> dict[str, str]:
    """Headings of all attacks by name, in the order of their labels."""
    labels = {attack["name"]: attack["label"] for _, result in found for attack in result["attacks"]}
    return {name: f"{label} {name}" for name, label in sorted(labels.items(), key=lambda pair: pair[1])}


def _cell(attack: Result | None) -> str:
    best = report.headline(attack) if attack else None
    if attack is None or best is None:
        return "-"
    variant, measure, share = best
    exact = attack["found"][variant].get(report.EXACT)
    counted = " of entries" if measure == "vocabulary" else ""
    return f"{report.percent(share)}{counted}" + ("" if exact is None else f" ({report.percent(exact)})")


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
        "Token ids alone, by how many are seen; reference and stream are halves of one collection:",
        "",
    ]
    lines += [
        "| model | tokens | by rank | by neighbours | among ten | among a hundred |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in result["counted"]:
        measures = ("rank", "neighbours", "neighbours_top10", "neighbours_top100")
        shares = " | ".join(report.percent(row[measure]) for measure in measures)
        lines += [f"| {row['model']} | {row['tokens']:,} | {shares} |"]
    return [*lines, ""]


def _draw(found: Found, path: Path) -> None:
    """A field of shares, red where much is read."""
    columns = _columns(found)
    figure, axes = plots.require().subplots(
        figsize=(2 + 0.95 * len(columns), 1.5 + 0.3 * len(found)), layout="constrained"
    )
    best = [{attack["name"]: report.headline(attack) for attack in result["attacks"]} for _, result in found]
    shares = [[row[2] if (row := line.get(column)) else None for column in columns] for line in best]
    field = [[float("nan") if share is None else 100 * share for share in line] for line in shares]
    axes.pcolormesh(field, cmap="Reds", vmin=0, vmax=140)
    for y, line in enumerate(shares):
        for x, share in enumerate(line):
            text = report.percent(share).removesuffix(" %")
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=8)
    axes.set_xticks([x + 0.5 for x in range(len(columns))], [c.replace(" ", "\n") for c in columns.values()])
    axes.set_yticks([y + 0.5 for y in range(len(found))], [name for name, _ in found])
    models = [result["model"] for _, result in found]
    for y in (y for y in range(1, len(models)) if models[y] != models[y - 1]):
        axes.axhline(y, color="black", linewidth=0.8)
    axes.tick_params(labelsize=8)
    axes.invert_yaxis()
    axes.set_title("token occurrences read, % (A5: of short prompts)", fontsize=10)
    plots.save(figure, path)
