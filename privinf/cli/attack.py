"""The command that attacks a converted model as published attackers would, and reports what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.output import JsonFlag, emit_json, note

RESULT, REPORT = "attacks.json", "report.md"


def attack(
    model: Annotated[
        Path, typer.Argument(help="The plain model, which the attacker knows: BERT, GPT-2, Llama.")
    ],
    converted: Annotated[
        Path,
        typer.Argument(
            help="What `privinf cover` wrote. client/ is used to make the traffic that a server sees, to reveal the"
            " tokens that an attack is said to know, and to score guesses; no attack sees it."
        ),
    ],
    text: Annotated[
        list[Path],
        typer.Option(
            help="Text like the clients': paragraphs, or a CSV's column text; half of it is public; repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A directory for attacks.json, report.md and plots.")],
    reference: Annotated[
        list[Path] | None, typer.Option(help="Text of another kind to count as well; repeatable.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--attack", help="Run only this attack; repeatable.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens of traffic for attacks that count.", min=1)] = 1_000_000,
    prompts: Annotated[int, typer.Option(help="Short prompts to decode.", min=1)] = 48,
    seed: Annotated[int, typer.Option(help="Seed for choosing what is scored.", min=0)] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Attack a covered model with everything its server has, and report the share of tokens that was read."""
    from privinf.equivariant.attacks import plots, report
    from privinf.equivariant.attacks.registry import chosen
    from privinf.equivariant.attacks.run import Setting, run
    from privinf.equivariant.attacks.truth import Sizes

    plots.require()  # minutes before it is needed
    wanted = chosen(names)
    setting = Setting(model, converted, text, reference or (), tokens, Sizes(prompts=prompts), seed)
    result = run(setting, wanted, note, lambda found: save(found, out))
    save(result, out)
    (out / REPORT).write_text(report.render(result, plots.draw(result, out)), encoding="utf-8")
    if as_json:
        emit_json(result)
    else:
        _print(result)
        typer.echo(out / REPORT)


def save(result: dict[str, Any], out: Path) -> None:
    """What there is so far, whole: an attack that fails later loses nothing of it."""
    import json
    import os

    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{RESULT}.part"
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(part, out / RESULT)


def _print(result: dict[str, Any]) -> None:
    """A line for each attack."""
    from privinf.equivariant.attacks.report import headline, said

    note(result["warning"])
    for found in result["attacks"]:
        none = f"not possible here: {found['skipped']}" if found["skipped"] else "there was nothing to score"
        typer.echo(f"{found['label']} {found['name']}: {said(found) if headline(found) else none}")
