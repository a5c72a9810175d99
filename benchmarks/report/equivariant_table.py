"""Writes the figures of docs/equivariant.md, from the results' JSON alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.decoder_table import NAMES, ROOT, read, table
from benchmarks.report.table import rewritten

PAGE = ROOT / "docs" / "equivariant.md"
MODELS = NAMES | {"minilm": "all-MiniLM-L6-v2"}
LEVELS = {
    "tokens": "`tokens`",
    "cover": "`cover`",
    "noise": "`noise`",
    "noise-published": "`noise`, AloePri's setting",
    "session": "`session`",
}
ROUNDING = 1e-5  # of a vector's length: answers that are nearer than this are called the same


def exactness() -> str:
    """How close answers come to plain transformers, and what converting takes."""
    rows = []
    for model, title in MODELS.items():
        found = read(f"equivariant-exactness-{model}.json")
        for level in LEVELS if found else ():
            assert found is not None
            if level in found["levels"]:
                rows.append([title, LEVELS[level], *_answers(found["levels"][level])])
    return "Answers compared with plain transformers in float32:\n\n" + table(
        ["model", "level", "same answers", "largest error", "perplexity", "conversion, s"], rows
    )


def _answers(found: dict[str, Any]) -> list[str]:
    seconds = f"{found['conversion']['seconds']:.1f}"
    if "greedy" not in found:
        part = found["embeddings"]
        same = f"{part['texts']} sentences" if part["difference_max"] < ROUNDING else ""
        return [same, f"{part['difference_max']:.1e}", "", seconds]
    greedy, said = found["greedy"], found["predictions"]
    same = f"{greedy['identical']} of {greedy['prompts']} x {greedy['tokens']} greedy tokens"
    ratio = f"{100 * (said['perplexity_ratio'] - 1):+.3f} %"
    return [same, f"{greedy['logit_error_max']:.1e}", ratio, seconds]


def speed() -> str:
    """Covered by plain, in turn behind the same server."""
    found = read("equivariant-speed.json")
    rows = [
        [
            MODELS[row["model"]],
            f"`{row['level']}`",
            _interval(row["ratio"]),
            _interval(row["cpu_ratio"]),
            _operators(row),
        ]
        for row in (found or {"rows": []})["rows"]
    ]
    return (
        "Covered model relative to the plain one, in turn on the same server, one thread:\n\n"
        + table(["model", "level", "seconds, 95 % interval", "CPU seconds, 95 % interval", "operators"], rows)
        + (f"\n\n{_first(found['rows'])}" if found else "")
    )


def _first(rows: Sequence[Mapping[str, Any]]) -> str:
    """What seconds leave out, where a session loads its variant."""
    waits = [
        f"{row['covered']['first_s']:.2f} s instead of {row['plain']['first_s']:.2f} ({MODELS[row['model']]})"
        for row in rows
        if row["level"] == "session" and row["plain"]["first_s"]
    ]
    return (
        "Decoders are timed from the first token to the last, MiniLM over whole calls. Before the first token,"
        f" `session` also loads a variant: {', '.join(waits)}."
    )


def _interval(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def _operators(row: dict[str, Any]) -> str:
    if "flops" not in row:
        return "the client's as well"
    same = "the same" if row["same_operators"] else "others"
    return f"{same}, {row['flops'] / row['plain_flops']:.2f} of the FLOPs"


def section() -> str:
    """Everything between the markers."""
    return f"{exactness()}\n\n{speed()}"


def main() -> None:
    """Put the tables between their markers."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.report.equivariant_table", description=__doc__
    ).parse_args()
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), "equivariant", section()), "utf-8")


if __name__ == "__main__":
    main()
