"""A search from its settings to its Pareto set: what trials are judged by, workers side by side, and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage

from privinf.errors import ConfigError, PrivinfError
from privinf.search import report, settings, storage, trials
from privinf.search.candidates import Candidates
from privinf.search.report import Outcome
from privinf.search.settings import Search
from privinf.search.worker import worker
from privinf.search.workers import Workers
from privinf.train.architecture import Architecture, parse
from privinf.train.directory import copy_model
from privinf.train.folder import owned
from privinf.train.run import MODEL
from privinf.train.watching import Nobody, Watcher


class NothingFound(PrivinfError):
    """No architecture that was trained meets what was asked for."""


def search(
    asked: Search,
    folder: Path,
    *,
    workers: int = 1,
    serve: str | None = None,
    join: str | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Search in `folder`, from where an earlier call stopped there, and write the Pareto set into it.

    Args:
        asked: what is searched.
        folder: for the journal, the models and the report.
        workers: processes side by side; one computes in this process.
        serve: host:port at which other machines may join.
        join: host:port of a search elsewhere to work for.
        watcher: told of epochs and trials.

    Raises:
        ConfigError: contradictory constraints, or a folder with another search.
        NothingFound: nothing that was trained is as accurate as asked.
    """
    watcher = watcher or Nobody()
    if serve is not None and join is not None:
        raise ConfigError("a search serves its trials or joins another's, not both")
    with owned(folder):
        asked = settings.keep(folder, replace(asked, recipe=settings.validated(asked.recipe)))
        candidates = Candidates(folder, asked, watcher)
        _require_possible(candidates)
        with _storage(folder, serve, join) as held:
            study = storage.study(held)
            if join is None:
                trials.adopt(study)
            _work(study, candidates, workers, serve or join, watcher)
            return _reported(folder, study, candidates)


def _require_possible(candidates: Candidates) -> None:
    """Refuse a limit that nothing keeps before hours of training."""
    most, least = candidates.search.most_seconds, candidates.cheapest().seconds
    if most is not None and least > most:
        where = candidates.search.network
        raise ConfigError(f"max-seconds {most:g}: the cheapest of this recipe takes {least:.3g} s on {where}")


@contextmanager
def _storage(folder: Path, serve: str | None, join: str | None) -> Iterator[BaseStorage]:
    if join is not None:
        yield storage.joined(join)
    elif serve is not None:
        with storage.served(folder, serve) as held:
            yield held
    else:
        yield storage.journal(folder)


def _work(study: Study, candidates: Candidates, count: int, address: str | None, watcher: Watcher) -> None:
    """In this process, or in several."""
    if count == 1:
        worker(study, candidates).work()
        return
    with Workers(candidates.folder, count, address) as workers:
        workers.wait(study, candidates.search.trials, watcher)


def _reported(folder: Path, study: Study, candidates: Candidates) -> Outcome:
    """The Pareto set with accuracy on the test images; files are written before a limit is said to be missed."""
    made = report.outcome(study, about(candidates.search))
    best = tuple(
        replace(found, test=candidates.finish(_parsed(candidates, found.architecture)).test)
        for found in made.best
    )
    made = replace(made, best=best)
    report.write(folder, made)
    least = candidates.search.least_accuracy
    if least is not None and not any(found.accuracy >= least for found in best):
        raise NothingFound(
            f"nothing reaches an accuracy of {least:g}: {folder / report.JSON} has what there is"
        )
    return made


def about(asked: Search) -> Mapping[str, Any]:
    """What a report says of how it came about."""
    recipe = asked.recipe
    return {
        "data": recipe.data.set,
        "network": asked.network,
        "epochs": recipe.optimisation.all_epochs,
        "seed": recipe.seed,
        "grain": recipe.choosing.grain,
        "preparations count": asked.ahead,
        "speed measured on": asked.speed.measured,
    }


def export(asked: Search, folder: Path, made: Outcome, out: Path, pick: str | None = None) -> str:
    """Copy the model of one of the Pareto set, which `privinf share` takes: the most accurate, or the one named."""
    names = [found.architecture for found in made.best]
    if not names:
        raise NothingFound(f"{folder} has no trained architecture to export")
    chosen = names[-1] if pick is None else pick
    if chosen not in names:
        raise ConfigError(f"{chosen!r} is not in the Pareto set: choose one of {', '.join(names)}")
    candidates = Candidates(folder, asked)
    copy_model(candidates.of(_parsed(candidates, chosen)) / MODEL, out)
    return chosen


def _parsed(candidates: Candidates, name: str) -> Architecture:
    shape = candidates.recipe.model
    return parse(name, shape.layers, shape.heads, candidates.rows)
