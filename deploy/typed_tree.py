"""Lays links so that a type checker sees the packages as they are imported, privinf/protocols and so on."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(target: Path) -> None:
    """Make `target`/privinf a folder of links into the checkout."""
    shutil.rmtree(target, ignore_errors=True)
    package = target / "privinf"
    package.mkdir(parents=True)
    for entry in (ROOT / "privinf").iterdir():
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    for name, folder in table.items():
        (package / name.removeprefix("privinf.")).symlink_to(ROOT / folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
