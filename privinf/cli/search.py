"""The command that searches for architectures by accuracy and seconds in shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privinf.cli.output import JsonFlag, emit_json, note, stages
from privinf.cli.train import Bar, RecipeName, recipe_of
from privinf.options import option

if TYPE_CHECKING:
    from privinf.search.report import Outcome
    from privinf.search.settings import Search
    from privinf.speed import Speed


@dataclass(frozen=True)
class Choice:
    """What may be chosen, and by what."""

    network: str = option("lan", "Whose seconds count: loopback, lan, wan, or RTT,MBIT such as 80,100.")
    trials: int = option(24, "Architectures to try, in all; a later call may ask for more.")
    grain: str | None = option(None, "head: each head chooses; layer: all heads of a layer together.")
    bends: str | None = option(None, "none: GELU stays; layer or token: each chooses GELU or nothing.")
    ahead: float = option(0.0, "Which part of the seconds of preparations counts, from 0 to 1.")
    max_seconds: float | None = option(None, "Train nothing that takes longer.")
    min_accuracy: float | None = option(None, "Fail where nothing is as accurate, from 0 to 1.")
    margin: float = option(0.02, "Leave a trial that is so far behind cheaper ones.")


@dataclass(frozen=True)
class Side:
    """Who computes."""

    workers: int = option(1, "Processes side by side.", min=1, max=256)
    serve: str | None = option(
        None, "host:port at which workers elsewhere may join; neither TLS nor password."
    )
    join: str | None = option(None, "host:port of a search elsewhere to work for.")


def search(
    recipe: RecipeName,
    choice: Choice,
    side: Side,
    out: Annotated[
        Path, typer.Option(help="A folder for trials, models and report; a search in it goes on.")
    ],
    data: str | None = option(None, "cifar10, fashion-mnist, mnist, or a folder of images a class."),
    settings: list[str] | None = option(
        None, "A setting of the recipe, such as optimisation.epochs=20; repeatable.", flag="--set"
    ),
    export: Path | None = option(None, "A new directory for a model of the Pareto set, to share."),
    pick: str | None = option(None, "Which one to export; by default the most accurate."),
    as_json: JsonFlag = False,
) -> None:
    """Search for vision transformers that are accurate and quick in shares; killed, the same command goes on."""
    from privinf.formats.directory import require_new
    from privinf.search import run

    told = [*(settings or ()), *_choosing(choice)]
    asked = _search(recipe, told, data, choice)
    if export is not None:
        require_new(export)
    with stages() as shown:
        made = run.search(
            asked, out, workers=side.workers, serve=side.serve, join=side.join, watcher=Bar(shown)
        )
        if export is not None:
            note(f"exported {run.export(asked, out, made, export, pick)} to {export}")
    emit_json(made.document() | {"folder": str(out)}) if as_json else _print(made, out)


def _choosing(choice: Choice) -> list[str]:
    given = {"grain": choice.grain, "bends": choice.bends}
    return [f"choosing.{name}={value}" for name, value in given.items() if value is not None]


def _search(name: str, told: list[str], data: str | None, choice: Choice) -> Search:
    from privinf.search.seconds import network
    from privinf.search.settings import Search

    recipe = recipe_of(name, told, data)
    network(choice.network)  # refused by name before anything is measured
    return Search(
        recipe,
        _speed(),
        choice.network,
        choice.trials,
        choice.ahead,
        choice.margin,
        choice.max_seconds,
        choice.min_accuracy,
    )


def _speed() -> Speed:
    """Of this machine, measured once."""
    from privinf import speed

    known = speed.stored()
    if known is None:
        note("measuring what this machine computes, once")
        known = speed.measure()
    return known


def _print(made: Outcome, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "architecture", "accuracy", "test", "seconds", title=f"Pareto set on {made.about['network']}"
    )
    for one in made.best:
        test = "" if one.test is None else f"{100 * one.test:.2f} %"
        table.add_row(one.architecture, f"{100 * one.accuracy:.2f} %", test, f"{one.seconds:.4g}")
    Console().print(table)
    typer.echo(out)
