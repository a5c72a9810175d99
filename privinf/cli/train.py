"""The command that trains a model of images by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privinf.cli.output import JsonFlag, Stages, stages, wrote
from privinf.options import option

if TYPE_CHECKING:
    from privinf.train.recipe import Recipe
    from privinf.train.watching import Epoch

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe's name, such as small-cifar10, or a TOML file.")
]


class Bar:
    """A run's watcher on a terminal."""

    def __init__(self, shown: Stages) -> None:
        self.begin, self.tick = shown.begin, shown.tick

    def epoch(self, epoch: Epoch) -> None:
        """Bars say it."""


def recipe_of(name: str, settings: list[str] | None, data: str | None) -> Recipe:
    """With --set and --data in it."""
    from privinf.train.recipes import changed, read

    recipe = read(name, settings or ())
    return recipe if data is None else changed(recipe, {"data": {"set": data}})


def train(
    recipe: RecipeName,
    out: Annotated[
        Path, typer.Option(help="A folder for checkpoints, result and model; a run in it goes on.")
    ],
    data: str | None = option(None, "cifar10, fashion-mnist, mnist, or a folder of images a class."),
    settings: list[str] | None = option(
        None, "A setting of the recipe, such as optimisation.epochs=20; repeatable.", flag="--set"
    ),
    architecture: str | None = option(None, "What each head is, as `privinf search` names it: rrss-ssss."),
    teacher: Path | None = option(None, "The folder of another run, to learn from."),
    tensorboard: bool = option(False, "Write event files for TensorBoard into the folder."),
    as_json: JsonFlag = False,
) -> None:
    """Train a vision transformer; stopped at any time, the same command goes on, to the same weights bit for bit."""
    from privinf.train.run import train as run

    chosen = recipe_of(recipe, settings, data)
    with stages() as shown:
        result = run(
            chosen, out, architecture=architecture, teacher=teacher, curves=tensorboard, watcher=Bar(shown)
        )
    said = f"accuracy {100 * result.test:.2f} % on the test images after {result.epochs} epochs"
    wrote(out, result.document(), said, as_json=as_json)
