"""Lays out what a build of the image is given: what Dockerfile copies, as far as .dockerignore lets it by."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copied(dockerfile: str) -> list[str]:
    """The sources of every COPY from the context, as they are written."""
    sources: list[str] = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["COPY"] and not any(word.startswith("--from") for word in words):
            sources += [word for word in words[1:-1] if not word.startswith("--")]
    return sources


class Ignored:
    """The rules of a .dockerignore: the last that matches a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        rules = [line for line in lines if line and not line.startswith("#")]
        self._rules = [(rule.startswith("!"), _pattern(rule.lstrip("!"))) for rule in rules]

    def __contains__(self, path: Path) -> bool:
        names = [one.as_posix() for one in (path, *path.parents)][:-1]
        ignored = False
        for kept, pattern in self._rules:
            if any(pattern.fullmatch(name) for name in names):
                ignored = not kept
        return ignored


def _pattern(rule: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|\*|\?)", rule.strip("/"))
    return re.compile("".join(parts.get(word) or re.escape(word) for word in words))


def files(root: Path) -> Iterator[Path]:
    """Every file of the context that some COPY takes, relative to the root."""
    ignored = Ignored((root / ".dockerignore").read_text("utf-8"))
    for source in copied((root / "Dockerfile").read_text("utf-8")):
        whole = root / source
        if not whole.exists():
            raise SystemExit(f"Dockerfile copies {source}, which is not there")
        found = [whole] if whole.is_file() else (path for path in whole.rglob("*") if path.is_file())
        yield from (path.relative_to(root) for path in found if path.relative_to(root) not in ignored)


def main(target: Path) -> None:
    """Copy them to `target`, with Dockerfile and .dockerignore, ready to be built."""
    for path in (*files(ROOT), Path("Dockerfile"), Path(".dockerignore")):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target / path)
    (target / "deploy" / "wheels").mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
