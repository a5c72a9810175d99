"""Writes the figures of generation in docs/speed.md, from the results' JSON alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.report.table import rewritten

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SPEED = ROOT / "docs" / "speed.md"
NAMES = {"tinystories": "TinyStories-15M", "smollm2": "SmolLM2-135M-Instruct", "mgm": "MGM (GPT-2, 8 x 256)"}
Result = dict[str, Any]


def read(name: str) -> Result | None:
    """A result, if it was measured."""
    path = RESULTS / name
    found: Result | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fidelity() -> str:
    """How close logits come to float32."""
    rows = []
    for model, title in NAMES.items():
        found = read(f"decoder-fidelity-{model}.json")
        for kind in ("fixed", "shares") if found else ():
            assert found is not None
            part, greedy = found[kind], found["greedy"]
            same = f"{greedy['identical']:.0%} of {greedy['prompts']}" if kind == "fixed" else ""
            rows.append(
                [
                    title,
                    "fixed interpreter" if kind == "fixed" else "shares, three processes",
                    f"{part['positions']:,}",
                    f"{part['top1_agreement']:.2%}",
                    f"{part['logit_error_mean']:.4f}",
                    f"{100 * (part['perplexity_ratio'] - 1):+.3f} %",
                    same,
                ]
            )
    head = [
        "model",
        "run",
        "positions",
        "same most likely token",
        "mean logit error",
        "perplexity",
        "32 greedy tokens same",
    ]
    return (
        f"Against float32 behind the same public prefix, teacher-forced:\n\n{table(head, rows)}"
        if rows
        else ""
    )


def speed() -> str:
    """Tokens a second."""
    rows = []
    for path in sorted(RESULTS.glob("decoding-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for pace, figures in found["paces"].items():
            one = figures["pass"]
            rows.append(
                [
                    NAMES[found["model"]],
                    found["network"],
                    "dealer stopped, preparations ready"
                    if pace == "online"
                    else "dealer running, everything included",
                    f"{figures['tokens_per_second']:.2f}"
                    if pace == "sustained"
                    else f"{1 / one['seconds']['median']:.2f}",
                    f"{one['seconds']['median']:.3f} ({one['seconds']['min']:.3f}-{one['seconds']['max']:.3f})",
                    str(one["rounds"]),
                    f"{one['online_bytes']['median'] / 1e6:.2f}",
                    " + ".join(f"{part['median'] / 1e6:.1f}" for part in one["preparation_bytes"]),
                ]
            )
    head = [
        "model",
        "network",
        "pace",
        "tokens/s",
        "s a pass",
        "rounds",
        "MB sent by a party",
        "MB prepared, party 0 + 1",
    ]
    return table(head, rows) if rows else ""


def step() -> str:
    """One layer of GPT-2 small's shape beside SPU."""
    found = read("decode-step.json")
    if found is None:
        return ""
    rows = [
        [line["network"], line["system"], f"{1000 * line['seconds']:.0f}", _ratio(found, line)]
        for line in found["per_layer"]
    ]
    whole = found["declared"]["50257"]["all"]
    first, second = (f"{part / 1e6:.1f}" for part in whole["preparation_bytes"])
    return (
        f"One token of GPT-2 small's shape, {found['cached_keys']} keys in the cache, made-up private weights, tokens "
        f"embedded by the client: {whole['rounds']} rounds, {whole['online_bytes'] / 1e6:.2f} MB sent by a party, "
        f"{first} and {second} MB prepared for party 0 and 1. One layer of it, online, each system in turn:\n\n"
        + table(["network", "system", "ms a layer", "times ours"], rows)
    )


def _ratio(found: Result, line: Result) -> str:
    own = next(
        other["seconds"]
        for other in found["per_layer"]
        if other["network"] == line["network"] and other["system"] == "privinf"
    )
    return "" if line["system"] == "privinf" else f"{line['seconds'] / own:.1f}x"


def drafts() -> str:
    """What drafts save."""
    rows = []
    for name in ("speculation.json", "speculation-free.json", "speculation-clear.json"):
        for line in (read(name) or {"medians": []})["medians"]:
            if line["drafts"] == 0:
                continue
            seconds = f"{1 / line['seconds_per_token_over_none']:.2f}x" if "seconds_per_token" in line else ""
            rows.append(
                [
                    line["network"] or "counted in the clear",
                    f"{line['group']}, {line['prompts']} prompts",
                    f"{line['draft']}, {line['drafts']}",
                    f"{line['tokens_per_pass']:.2f}",
                    f"{1 / line['passes_over_none']:.2f}",
                    seconds,
                ]
            )
    head = [
        "network",
        "prompts",
        "draft, tokens a pass",
        "tokens a pass, median",
        "over all prompts",
        "faster, median",
    ]
    return f"Drafts, SmolLM2-135M-Instruct, greedy, same output:\n\n{table(head, rows)}" if rows else ""


def section() -> str:
    """Everything between the markers."""
    return "\n\n".join(part for part in (fidelity(), speed(), step(), drafts()) if part)


def main() -> None:
    """Put the tables between their markers."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.report.decoder_table", description=__doc__
    ).parse_args()
    SPEED.write_text(rewritten(SPEED.read_text(encoding="utf-8"), "generation", section()), encoding="utf-8")


if __name__ == "__main__":
    main()
