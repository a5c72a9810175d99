"""What a search found: the Pareto set as JSON, and a plot and a page of it."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from privinf.errors import MissingExtra
from privinf.search.pareto import pareto
from privinf.train.checkpoint import replace, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

JSON, PNG, PAGE = "pareto.json", "pareto.png", "pareto.html"
DPI = 150


@dataclass(frozen=True)
class Found:
    """One trial that was trained to the end: accuracy on what was validated on, and predicted seconds.

    counted: rounds and bytes. test: accuracy on the test images, of the Pareto set alone.
    """

    architecture: str
    accuracy: float
    seconds: float
    counted: Mapping[str, float] = field(default_factory=dict)
    test: float | None = None


@dataclass(frozen=True)
class Outcome:
    """All of a search; `about` says how it was made, `others` what was trained and is beaten, `ended` counts trials."""

    about: Mapping[str, Any]
    best: tuple[Found, ...]
    others: tuple[Found, ...]
    ended: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        return {
            "about": dict(self.about),
            "trials": dict(self.ended),
            "pareto": [asdict(found) for found in self.best],
            "others": [asdict(found) for found in self.others],
        }


def outcome(study: Study, about: Mapping[str, Any]) -> Outcome:
    """Of all trials so far; an architecture that was drawn twice counts once."""
    trials = study.get_trials(deepcopy=False)
    found = {t.user_attrs["architecture"]: _found(t) for t in trials if t.state == TrialState.COMPLETE}
    best = pareto(list(found.values()))
    others = [one for one in found.values() if one not in best]
    ended = {state.name.lower(): sum(t.state == state for t in trials) for state in TrialState}
    return Outcome(about, tuple(best), tuple(others), {name: n for name, n in ended.items() if n})


def _found(trial: FrozenTrial) -> Found:
    accuracy, seconds = trial.values
    attributes = trial.user_attrs
    return Found(attributes["architecture"], accuracy, seconds, attributes["counted"])


def write(folder: Path, made: Outcome) -> None:
    """All three files."""
    write_json(folder / JSON, made.document())
    figure = _figure(made)
    replace(folder / PNG, _drawn(figure, "png"))
    replace(folder / PAGE, _page(made, _drawn(figure, "svg").decode()).encode())


def _figure(made: Outcome) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra('plots need matplotlib: pip install "privinf[search]"') from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*_points(made.others), color="#999999", s=16, label="beaten")
    axes.plot(*_points(made.best), "o-", color="#0b6fa4", drawstyle="steps-post", label="Pareto set")
    for one in made.best if len(made.best) <= 12 else ():
        name = one.architecture if len(one.architecture) <= 24 else ""
        axes.annotate(
            name, (one.seconds, 100 * one.accuracy), (4, -10), textcoords="offset points", fontsize=7
        )
    axes.set_xlabel(f"predicted seconds of an answer ({made.about.get('network', '')})")
    axes.set_ylabel("accuracy, % of validation images")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend()
    return figure


def _points(found: Sequence[Found]) -> tuple[list[float], list[float]]:
    return [one.seconds for one in found], [100 * one.accuracy for one in found]


def _drawn(figure: Figure, kind: str) -> bytes:
    into = io.BytesIO()
    figure.savefig(into, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    return into.getvalue()


def _page(made: Outcome, plot: str) -> str:
    """One file without anything from elsewhere."""
    columns = ["architecture", "accuracy", "test", "seconds", *_counted(made.best)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(one))}</tr>" for one in made.best)
    about = "".join(
        f"<li>{html.escape(str(name))}: {html.escape(str(value))}</li>" for name, value in made.about.items()
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Pareto set</title>
<style>body{{font:15px sans-serif;margin:2em;max-width:60em}}td,th{{padding:.2em .8em;text-align:right}}
td:first-child,th:first-child{{text-align:left;font-family:monospace}}svg{{max-width:100%;height:auto}}</style>
<h1>Pareto set</h1>
{plot[plot.index("<svg") :]}
<table><tr>{head}</tr>
{rows}</table>
<ul>{about}</ul>
</html>
"""


def _counted(found: Sequence[Found]) -> list[str]:
    return list(dict.fromkeys(name for one in found for name in one.counted))


def _cells(one: Found) -> list[str]:
    test = "" if one.test is None else f"{100 * one.test:.2f} %"
    counted = [f"{value:,.0f}" for value in one.counted.values()]
    name = html.escape(one.architecture)
    return [name, f"{100 * one.accuracy:.2f} %", test, f"{one.seconds:.4g}", *counted]
