"""What commands print: one JSON document on stdout with --json, else text; progress on stderr when it is a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def emit_json(document: Any) -> None:
    """The one document of a command."""
    print(json.dumps(document, indent=1))


def plain(text: str) -> str:
    """Text that may be a server's, without what a terminal obeys."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def wrote(out: Path, document: Any, *notes: str, as_json: bool) -> None:
    """What a command says of what it wrote to `out`: one document, or lines for people and then the path."""
    if as_json:
        emit_json(document)
        return
    for text in notes:
        note(text)
    typer.echo(out)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; yields the function that counts what is done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)


class Stages:
    """What a long command does: on a terminal a bar for each stage, elsewhere nothing."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar, self._task = bar, None if bar is None else bar.add_task("starting", total=None)

    def begin(self, name: str, total: int) -> None:
        """The next stage, of so many passages; 0 where none are counted."""
        if self._bar is None or self._task is None:
            return
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=total or None)

    def tick(self, done: int) -> None:
        """Count passages done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, done)


@contextmanager
def stages() -> Iterator[Stages]:
    """Progress on stderr of a command that has stages."""
    if not sys.stderr.isatty():
        yield Stages(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Stages(bar)


def read_text(file: Path) -> str:
    """A UTF-8 file, or stdin for -; FileError where it cannot be read, InputError where it is other than text."""
    from privinf.errors import FileError, InputError

    try:
        return (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8")
    except OSError as error:
        raise FileError.unread(file, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is not UTF-8") from error


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
