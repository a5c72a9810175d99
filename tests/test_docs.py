"""What the documents name exists, and their tables are those of the results."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.harness import rows
from benchmarks.report import decoder_table, equivariant_table, offline_table, table
from privinf.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "deploy" / "README.md",
        ROOT / "benchmarks" / "README.md",
    ]
)
# Decisions and the changelog tell of files and options as they were.
CURRENT = [
    page for page in PAGES if page.name != "CHANGELOG.md" and page.parent.name not in ("decisions", "attacks")
]
FOLDERS = "benchmarks|deploy|docs|models|parties|privinf|proto|protocols|tests"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w/.*-]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def anchors(page: Path) -> set[str]:
    """The headings' names, as they are linked to."""
    titles = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def exists(name: str) -> bool:
    """Whether a path is there, or, where it holds a * or a NAME to be chosen, something that fits."""
    return any(ROOT.glob(re.sub(r"[A-Z]{3,}(?![A-Z.]*md)", "*", name)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    assert [name for name in NAMED.findall(text_of(page)) if not exists(name)] == []


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_are_named_exist(page: Path) -> None:
    for module in re.findall(r"python -m ((?:benchmarks|privinf)[\w.]*)", text_of(page)):
        path = module.replace(".", "/")
        assert exists(f"{path}.py") or exists(f"{path}/__main__.py") or exists(path), module


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `privinf ...` that is shown, on lines of their own or within a sentence."""
    lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *re.findall(r"`(privinf [^`\n]+)`", text)]:
        if (start := line.find("privinf ")) in (0, line.find("/privinf ") + 1):
            shown = line[start:].replace("$(", "").partition(" #")[0].rstrip(" &)")
            yield shlex.split(shown, posix=False)[1:]


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_that_are_named_exist(page: Path) -> None:
    top = get_command(app)
    for words in commands(text_of(page)):
        command = top
        while words and isinstance(command, TyperGroup):
            name = words.pop(0)
            assert name in command.commands, (name, words)
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, (command.name, words)


def test_tables_are_those_of_the_committed_results() -> None:
    result = rows.read(ROOT / "benchmarks" / "results" / "bench.json")
    assert table.documents(result) == {path: text_of(path) for path in (table.README, table.SPEED)}
    for module, page, name in (
        (decoder_table, decoder_table.SPEED, "generation"),
        (offline_table, offline_table.SPEED, "offline"),
        (equivariant_table, equivariant_table.PAGE, "equivariant"),
    ):
        assert table.rewritten(text_of(page), name, module.section()) == text_of(page)
