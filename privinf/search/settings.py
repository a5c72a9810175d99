"""What a search was asked for, as a file in its folder that its workers read and a later call is compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from privinf.errors import ConfigError, FileError, InputError
from privinf.options import require
from privinf.search.seconds import Clock, network, speed_of
from privinf.search.seconds import document as speed_document
from privinf.search.trials import Rules
from privinf.speed import Speed
from privinf.train.checkpoint import write_json
from privinf.train.recipe import Recipe
from privinf.train.recipes import differences, document, made

FILE = "search.json"
VALIDATION = 0.1  # of the training images, where a recipe holds none out
GROWS = "trials"  # what a later call may change


@dataclass(frozen=True)
class Search:
    """What is searched, by the seconds of which network, and for how long.

    ahead: which part of the seconds before a query counts. margin: of accuracy by which a trial may be behind cheaper
    ones before it is left. most_seconds, least_accuracy: of what may be found.
    """

    recipe: Recipe
    speed: Speed
    network: str = "lan"
    trials: int = 24
    ahead: float = 0.0
    margin: float = 0.02
    most_seconds: float | None = None
    least_accuracy: float | None = None

    def __post_init__(self) -> None:
        network(self.network)
        require(1 <= self.trials <= 100_000, "trials must be from 1 to 100000")
        require(0 <= self.ahead <= 1, "ahead must be from 0 to 1")
        require(0 < self.margin <= 1, "margin must be above 0 and at most 1")
        require(self.most_seconds is None or self.most_seconds > 0, "max-seconds must be above 0")
        require(
            self.least_accuracy is None or 0 <= self.least_accuracy < 1,
            "min-accuracy must be at least 0 and below 1",
        )

    @property
    def clock(self) -> Clock:
        return Clock(network(self.network), self.speed, self.ahead)

    @property
    def rules(self) -> Rules:
        return Rules(self.trials, self.recipe.seed, self.margin, most_seconds=self.most_seconds)

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"recipe": document(self.recipe), "speed": speed_document(self.speed)}


def search_of(found: Mapping[str, Any]) -> Search:
    """From its document."""
    parts = {"recipe": made(Recipe, found["recipe"]), "speed": speed_of(found["speed"])}
    return Search(**{**found, **parts})


def validated(recipe: Recipe) -> Recipe:
    """The recipe, with images held out: a search that looked at the test images would fit them."""
    if recipe.data.validation:
        return recipe
    return replace(recipe, data=replace(recipe.data, validation=VALIDATION))


def keep(folder: Path, asked: Search) -> Search:
    """Write it into a new folder; in one that has it already, a search with more or fewer trials goes on.

    Seconds are those of the speed that was measured first. ConfigError where anything else differs.
    """
    before = read(folder)
    if before is not None:
        asked = replace(asked, speed=before.speed)
        odd = [name for name in differences(before.document(), asked.document()) if name != GROWS]
        if odd:
            raise ConfigError(f"{folder} holds another search ({', '.join(odd)}): choose another folder")
    write_json(folder / FILE, asked.document())
    return asked


def read(folder: Path) -> Search | None:
    """What a folder says; none where there is none."""
    path = folder / FILE
    try:
        return search_of(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError.unread(path, error) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}): choose another folder") from None
