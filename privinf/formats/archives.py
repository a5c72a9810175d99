"""Downloads pinned archives from package registries, and reads them without running anything in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast
from zipfile import BadZipFile, ZipFile

from privinf.errors import ConfigError, IntegrityError

Registry = Literal["pypi", "npm", "debian"]


@dataclass(frozen=True)
class Archive:
    """One pinned file of a registry: a wheel of Python's index, a tarball of npm, or a package of Debian."""

    name: str
    version: str
    sha256: str
    registry: Registry = "pypi"

    def __str__(self) -> str:
        return f"{self.name}{CLIENTS[self.registry].joint}{self.version}"


@dataclass(frozen=True)
class Client:
    """How a registry's own program downloads a file into the folder it runs in, and does no more.

    joint: between name and version. shown: what a reader may try. missing: what to do where there is no such program.
    """

    name: str
    command: tuple[str, ...]
    suffix: str
    joint: str
    shown: str
    errors: tuple[str, ...]
    missing: str = ""


AR = b"!<arch>\n"
# Of Python's index wheels only: a source distribution would run its own code before its digest is known.
PIP = (
    "--quiet",
    "--no-input",
    "--disable-pip-version-check",
    "--no-deps",
    "--only-binary=:all:",
    "--dest",
    ".",
)
CLIENTS: Mapping[Registry, Client] = {
    "pypi": Client(
        name="pip",
        command=(sys.executable, "-P", "-m", "pip", "download", *PIP),
        suffix=".whl",
        joint="==",
        shown="python -m pip download --no-deps",
        errors=("ERROR", "No module named"),
    ),
    "npm": Client(
        name="npm",
        command=("npm", "pack", "--loglevel=error", "--ignore-scripts", "--pack-destination", "."),
        suffix=".tgz",
        joint="@",
        shown="npm pack",
        errors=("npm error code", "npm ERR! code"),
        missing="install Node.js and npm, or ",
    ),
    "debian": Client(
        name="apt-get",
        command=("apt-get", "download", "--quiet"),
        suffix=".deb",
        joint="=",
        shown="apt-get download",
        errors=("E:",),
    ),
}


def download(archive: Archive, folder: Path) -> Path:
    """Gets an archive into a new folder, and refuses it where its digest is another."""
    client = CLIENTS[archive.registry]
    if shutil.which(client.command[0]) is None:
        raise ConfigError(
            f"{archive} comes with {client.name}, which is not installed: {client.missing}"
            "fetch on another machine and copy the directory"
        )
    folder.mkdir()
    command = [*client.command, str(archive)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    files = list(folder.glob(f"*{client.suffix}"))
    if done.returncode or len(files) != 1:
        said = [line for line in done.stderr.splitlines() if any(mark in line for mark in client.errors)]
        cause = said[-1].strip() if said else f"exit code {done.returncode}"
        raise ConfigError(
            f"{client.name} could not download {archive} ({cause}): check that `{client.shown} {archive}` "
            "works here, or fetch on another machine and copy the directory"
        )
    return checked(files[0], archive)


def checked(path: Path, archive: Archive) -> Path:
    """The path, where the file there is the pinned one; any other is removed."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        path.unlink()
        raise IntegrityError(f"{archive}: sha256 is {found}, expected {archive.sha256}; the file was removed")
    return path


class Members:
    """The plain files in a downloaded archive."""

    def __init__(self, archive: ZipFile | tarfile.TarFile) -> None:
        self._archive = archive

    def names(self) -> list[str]:
        """All names, in the archive's order."""
        if isinstance(self._archive, ZipFile):
            return [name for name in self._archive.namelist() if not name.endswith("/")]
        return [member.name.removeprefix("./") for member in self._archive.getmembers() if member.isreg()]

    def open(self, name: str) -> IO[bytes]:
        """One file's content."""
        if name not in self.names():
            raise IntegrityError(f"the archive lacks {name!r}")
        if isinstance(self._archive, ZipFile):
            return self._archive.open(name)
        member = next(m for m in self._archive.getmembers() if m.name.removeprefix("./") == name)
        return cast(IO[bytes], self._archive.extractfile(member))

    def extract(self, name: str, target: Path) -> Path:
        """Copies one file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.open(name) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        return target

    def extract_tree(self, prefix: str, into: Path) -> None:
        """Copies a whole folder, whose files stay under `into`."""
        for name in self.names():
            if name.startswith(f"{prefix}/"):
                self.extract(name, inside(into, name.removeprefix(f"{prefix}/")))


@contextmanager
def members(path: Path) -> Iterator[Members]:
    """Opens a wheel, a zip, a tarball or a package of Debian."""
    try:
        with _opened(path) as archive:
            yield Members(archive)
    except (BadZipFile, tarfile.TarError, EOFError, ValueError, LZMAError) as error:
        raise IntegrityError(f"{path.name} cannot be unpacked ({error})") from None


def _opened(path: Path) -> ZipFile | tarfile.TarFile:
    if path.suffix == ".deb":
        return tarfile.open(fileobj=BytesIO(_data_of_deb(path)))
    return tarfile.open(path) if path.suffix == ".tgz" else ZipFile(path)


def _data_of_deb(path: Path) -> bytes:
    """The tarball of a package's files: one member of an ar archive, whose headers are 60 bytes of text."""
    with path.open("rb") as file:
        if file.read(len(AR)) != AR:
            raise tarfile.TarError("no package of Debian")
        while len(header := file.read(60)) == 60:
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                return file.read(size)
            file.seek(size + size % 2, os.SEEK_CUR)
    raise tarfile.TarError("a package without files")


def inside(folder: Path, name: str) -> Path:
    """The path of an archive's member under `folder`, never outside it."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise IntegrityError(f"the archive names a file outside its folder: {name!r}")
    return folder.joinpath(*parts)
