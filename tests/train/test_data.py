"""Data sets: folders of images a class, what is refused and by which words, and arrays that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from privinf.errors import ConfigError, FileError, InputError
from privinf.formats import pictures
from privinf.train import data_folder, data_sets
from privinf.train.data import ImageSet, Split
from privinf.train.data_sets import open_images

Image = pytest.importorskip("PIL.Image")
SIZE = (6, 8)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of two classes, of several sizes, modes and formats."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    for name, shade in (("cat", 40), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i, (mode, suffix) in enumerate((("RGBA", "png"), ("CMYK", "jpg"), ("P", "gif"))):
            image = Image.fromarray(pixels // 8 + np.uint8(shade), "RGBA" if mode != "CMYK" else "CMYK")
            image.convert(mode).save(tmp_path / "pets" / name / f"{i}.{suffix}")
    return tmp_path / "pets"


def test_a_folder_of_images_a_class(folder: Path) -> None:
    made = open_images(str(folder), SIZE)
    assert (made.classes, made.size, made.channels) == (("cat", "dog"), SIZE, 3)
    assert (len(made.train), len(made.test)) == (4, 2)
    assert made.train.labels.tolist() == [0, 0, 1, 1]
    assert made.test.labels.tolist() == [0, 1]


def test_folders_may_say_what_is_for_the_test(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for part in ("train", "test"):
        (tmp_path / "both" / part).symlink_to(folder)
    made = open_images(str(tmp_path / "both"), SIZE)
    assert (len(made.train), len(made.test)) == (6, 6)


def test_decoded_once_until_a_file_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = data_folder.read_picture
    monkeypatch.setattr(data_folder, "read_picture", lambda path: read.append(path) or real(path))
    for _ in range(2):
        open_images(str(folder), SIZE)
    assert len(read) == 6
    (folder / "cat" / "0.png").unlink()
    open_images(str(folder), SIZE)
    assert len(read) == 11


def test_an_image_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert data_folder.read_picture(tmp_path / "turned.png").size == (2, 4)


def test_an_unknown_set_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="cifar10, fashion-mnist, mnist, or a folder"):
        open_images("cifar11")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no image"),
        (b"\x89PNG\r\n\x1a\n", "damaged|no image"),
        (b"GIF89a" + bytes(3), "damaged|no image"),
    ],
)
def test_a_file_that_is_no_image_is_named(folder: Path, content: bytes, said: str) -> None:
    (folder / "dog" / "9.png").write_bytes(content)
    with pytest.raises(InputError, match=rf"9\.png.*({said})"):
        open_images(str(folder), SIZE)


def test_an_image_cut_short_is_named(folder: Path, home: Path) -> None:
    whole = (folder / "dog" / "1.jpg").read_bytes()
    (folder / "dog" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"1\.jpg is damaged"):
        open_images(str(folder), SIZE)
    assert not any((home / "images").iterdir())  # nothing half made is taken for whole


def test_a_bomb_is_refused_by_its_header(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    with pytest.raises(InputError, match=r"12 x 9 pixels, more than 100"):
        open_images(str(folder), SIZE)


def test_a_larger_bomb_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match="bomb"):
        open_images(str(folder), SIZE)


def test_classes_without_images_and_single_ones(folder: Path) -> None:
    (folder / "eel").mkdir()
    with pytest.raises(InputError, match="eel holds no image"):
        open_images(str(folder), SIZE)
    (folder / "eel" / "0.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    with pytest.raises(InputError, match="eel: two images"):
        open_images(str(folder), SIZE)
    with pytest.raises(InputError, match="0 folders"):
        open_images(str(folder / "cat"), SIZE)


def test_parts_must_agree(folder: Path, tmp_path: Path) -> None:
    for part, names in (("train", ("cat", "dog")), ("test", ("cat", "eel"))):
        for name in names:
            (tmp_path / "both" / part / name).mkdir(parents=True)
    with pytest.raises(InputError, match="differ in classes: dog, eel"):
        open_images(str(tmp_path / "both"), SIZE)


def test_a_size_is_needed_and_sensible(folder: Path) -> None:
    for size in (None, (0, 8), (8, 5000)):
        with pytest.raises(ConfigError, match="4 to 1024"):
            open_images(str(folder), size)


def test_a_damaged_cache_is_named(folder: Path, home: Path) -> None:
    open_images(str(folder), SIZE)
    (kept,) = (home / "images").iterdir()
    np.save(kept / "test-labels.npy", np.zeros(7, dtype=np.int64))
    with pytest.raises(InputError, match="remove it and try again"):
        open_images(str(folder), SIZE)
    (kept / "test-labels.npy").unlink()
    with pytest.raises(FileError, match="test-labels"):
        open_images(str(folder), SIZE)


def test_what_is_held_out_is_disjoint_and_repeatable() -> None:
    split = Split(np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1), np.arange(20))
    whole = ImageSet("toy", ("a", "b"), split, split)
    first, second = (whole.held_out(0.25, 3) for _ in range(2))
    assert len(first.test) == 5
    assert sorted([*first.train.labels, *first.test.labels]) == list(range(20))
    assert np.array_equal(first.test.images.ravel(), first.test.labels)
    assert np.array_equal(first.test.labels, second.test.labels)
    with pytest.raises(ConfigError, match="leave none"):
        whole.held_out(1.0, 0)


def test_mean_and_deviation() -> None:
    images = np.zeros((4, 1, 1, 2), dtype=np.uint8)
    images[:2, ..., 0] = 255
    mean, deviation = ImageSet(
        "toy", (), Split(images, np.zeros(4)), Split(images, np.zeros(4))
    ).mean_and_deviation()
    assert mean == (0.5, 0.0)
    assert deviation == (0.5, 1e-3)
    assert data_sets.names() == ("cifar10", "fashion-mnist", "mnist")
