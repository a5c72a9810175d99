"""The command of a model's owner that checks ranges: how close text comes to what a shared model can hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privinf.cli.ask import asked_texts
from privinf.cli.output import JsonFlag, emit_json, note, progress
from privinf.options import option

if TYPE_CHECKING:
    from privinf.check import Report

OUTSIDE = 1  # the exit code where a text leaves the ranges
SHOWN = 12


def check(
    model: Annotated[
        Path, typer.Argument(help="What `privinf share` wrote, with the folders of all roles still in it.")
    ],
    text: Annotated[Path, typer.Option(help="UTF-8 text like your queries, one a line; - is stdin.")],
    margin: float = option(0.5, "Bits that every site must keep free; with fewer, the exit code is 1."),
    truncate: bool = option(False, "Truncate texts that are too long.", flag="--truncate/--no-truncate"),
    as_json: JsonFlag = False,
) -> None:
    """Run the fixed interpreter on text, and report how close each site comes to its range.

    Exit code 0: all ranges hold and every answer matches float32's; 1: one does not, or is too close,
    or a text has no answer, as a value leaves its range.
    """
    from privinf.check import check as run

    lines = asked_texts(None, text)
    with progress("checking", len(lines)) as tick:
        report = run(model, lines, truncate=truncate, tick=tick)
    emit_json(_document(report, margin)) if as_json else _print(report, margin)
    if not report.within(margin):
        raise typer.Exit(OUTSIDE)


def _document(report: Report, margin: float) -> dict[str, Any]:
    return {
        "within": report.within(margin),
        "margin": margin,
        "texts": len(report.answers),
        "wrong": report.wrong,
        "refused": report.refused,
        "sites": [asdict(site) | {"bits": site.bits} for site in report.sites],
        "answers": [asdict(answer) for answer in report.answers],
    }


def _print(report: Report, margin: float) -> None:
    typer.echo(f"{'site':<24} {'bits free':>9} {'seen':>23} {'held':>23}")
    for site in report.sites[:SHOWN]:
        seen, held = f"{site.low:.3g} to {site.high:.4g}", f"{site.least:.3g} to {site.most:.4g}"
        typer.echo(f"{site.site:<24} {site.bits:>9.2f} {seen:>23} {held:>23}")
    if len(report.sites) > SHOWN:
        note(f"{len(report.sites) - SHOWN} more sites, none closer; --json has them all")
    worst = max(answer.difference for answer in report.answers)
    note(f"{len(report.answers)} texts; largest difference to float32: {worst:.2g}")
    if report.wrong:
        note(f"wrong answers for lines {', '.join(str(place + 1) for place in report.wrong[:SHOWN])}")
    if report.refused:
        note(
            f"no answer for lines {', '.join(str(place + 1) for place in report.refused[:SHOWN])}: RangeError"
        )
    if not report.within(margin):
        note("share the model again with such text in --calibration")
