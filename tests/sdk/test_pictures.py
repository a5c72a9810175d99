"""Pictures become the pixels that transformers' processors give, whatever their mode and size; others are refused."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("PIL.Image")

import tiny_images
import transformers
from PIL import Image

from privinf.errors import FileError, InputError
from privinf.formats import pictures as files
from privinf.models.source.processor import FILE, ImageRules, read_rules
from privinf.models.spec import ModelSpec
from privinf.sdk.pictures import listed, pictures_in, pixels_of

PROCESSORS: dict[str, dict[str, Any]] = {
    "ViTImageProcessor": {"size": {"height": 8, "width": 12}, "image_mean": [0.4, 0.5, 0.6]},
    "DeiTImageProcessor": {
        "size": {"height": 16, "width": 20},
        "resample": 3,
        "crop_size": {"height": 8, "width": 12},
    },
}


def model(folder: Path, name: str = "ViTImageProcessor", **changes: object) -> tuple[ImageRules, ModelSpec]:
    spec = tiny_images.write_lite(folder)
    (folder / FILE).write_text(json.dumps({"image_processor_type": name, **PROCESSORS[name], **changes}))
    return read_rules(folder, spec), spec


def photograph(width: int = 37, height: int = 23, seed: int = 0) -> Any:
    """Soft colours with an edge, in RGB."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    whole = np.asarray(small.resize((width, height), 3)).copy()
    whole[: height // 2, : width // 3] //= 2
    return Image.fromarray(whole)


def theirs(folder: Path, name: str, image: Any) -> np.ndarray:
    """Pixels as transformers' own processor gives them, by Pillow."""
    given = json.loads((folder / FILE).read_text())
    given.pop("image_processor_type")
    processor = getattr(transformers, name + "Pil", getattr(transformers, name))(**given)
    pixels = processor(image, return_tensors="np")["pixel_values"]
    return np.asarray(pixels)


@pytest.mark.parametrize("size", [(37, 23), (8, 8), (12, 8), (5, 90), (200, 3)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_the_models_processor(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    rules, spec = model(tmp_path, name)
    image = photograph(*size)
    wanted = theirs(tmp_path, name, image)
    for given in (image, np.asarray(image)):
        made = pixels_of(listed(given), rules, spec.patches)
        assert made.shape == wanted.shape
        np.testing.assert_allclose(made, wanted, atol=2e-6)


def saved(folder: Path, mode: str) -> tuple[Path, Any]:
    """A file of a photograph in a mode, and what it shows in RGB."""
    plain = photograph()
    if mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        plain.save(folder / "turned.png", exif=exif)
        return folder / "turned.png", plain.transpose(Image.Transpose.ROTATE_270)
    if mode == "I;16":
        grey = np.asarray(plain.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(folder / "deep.png")
        return folder / "deep.png", plain.convert("L").convert("RGB")
    made = plain.convert(mode) if mode != "P" else plain.quantize(200)
    ending = "tif" if mode == "CMYK" else "png"
    made.save(folder / f"one.{ending}")
    return folder / f"one.{ending}", made.convert("RGB")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16", "turned"])
def test_a_file_of_any_mode_is_what_it_shows(tmp_path: Path, mode: str) -> None:
    rules, spec = model(tmp_path / "model")
    path, shown = saved(tmp_path, mode)
    wanted = theirs(tmp_path / "model", "ViTImageProcessor", shown)
    for given in (path, str(path), [path]):
        np.testing.assert_allclose(pixels_of(listed(given), rules, spec.patches), wanted, atol=2e-6)


def test_several_pictures_of_several_kinds_are_asked_together(tmp_path: Path) -> None:
    rules, spec = model(tmp_path / "model")
    path, _ = saved(tmp_path, "RGBA")
    one, other = photograph(seed=1), np.asarray(photograph(seed=2))
    made = pixels_of(listed([path, one, other]), rules, spec.patches)
    each = [pixels_of(listed(given), rules, spec.patches)[0] for given in (path, one, other)]
    np.testing.assert_array_equal(made, np.stack(each))
    assert pixels_of(listed([]), rules, spec.patches).shape == (0, 3, 8, 12)


def test_pixels_are_taken_as_they_are(tmp_path: Path) -> None:
    rules, spec = model(tmp_path)
    pixels = tiny_images.pixels(spec, 2)
    np.testing.assert_array_equal(pixels_of(listed(pixels.astype(np.float64)), rules, spec.patches), pixels)
    with pytest.raises(InputError, match=r"of shape \(images, 3, 8, 12\)"):
        pixels_of(listed(pixels[:, :1]), rules, spec.patches)


def test_a_processor_that_does_not_resize_takes_one_size(tmp_path: Path) -> None:
    rules, spec = model(tmp_path, do_resize=False)
    assert pixels_of(listed(photograph(12, 8)), rules, spec.patches).shape == (1, 3, 8, 12)
    with pytest.raises(InputError, match="37 x 23 pixels, where this model takes 12 x 8"):
        pixels_of(listed(photograph()), rules, spec.patches)


def bomb(path: Path) -> Path:
    """A PNG of a few bytes that says it has a gigapixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    return path


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    rules, spec = model(tmp_path / "model")

    def refused(given: object, match: str, kind: type[Exception] = InputError) -> None:
        with pytest.raises(kind, match=match):
            pixels_of(listed(given), rules, spec.patches)

    whole, _ = saved(tmp_path, "RGB")
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "text.png").write_text("no picture")
    refused(tmp_path / "cut.png", "cut.png is damaged")
    refused(tmp_path / "text.png", "text.png is no image that can be read")
    refused(tmp_path / "none.png", "none.png", FileError)
    refused(bomb(tmp_path / "bomb.png"), "bomb.png")
    refused([photograph(), 3], "picture 1 must be a path, a Pillow image, or an array of bytes")
    refused(np.zeros((2, 2, 2, 2, 2), np.uint8), "picture 0 must be")
    refused(np.zeros((4, 4, 5), np.uint8), "picture 0 is damaged")
    refused(b"bytes", "not bytes")
    refused(3, "not int")


def test_a_large_picture_is_refused_before_it_is_scaled(tmp_path: Path, monkeypatch: Any) -> None:
    rules, spec = model(tmp_path)
    monkeypatch.setattr(files, "MOST_PIXELS", 100)
    with pytest.raises(InputError, match="picture 0: 37 x 23 pixels, more than 100"):
        pixels_of(listed(photograph()), rules, spec.patches)


def test_a_narrow_picture_is_not_scaled_to_a_huge_one(tmp_path: Path) -> None:
    size = {"shortest_edge": 16}
    rules, spec = model(tmp_path, "DeiTImageProcessor", size=size)
    assert pixels_of(listed(photograph(1, 90)), rules, spec.patches).shape == (1, 3, 8, 12)
    narrow = Image.new("RGB", (1, 300_000))
    with pytest.raises(InputError, match="picture 0: 1 x 300000 pixels are too narrow"):
        pixels_of(listed(narrow), rules, spec.patches)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    _, spec = model(tmp_path / "model")
    images = tmp_path / "images" / "deep"
    images.mkdir(parents=True)
    saved(images, "RGB")
    saved(images.parent, "RGBA")
    assert pictures_in(tmp_path / "images", tmp_path / "model", spec).shape == (2, 3, 8, 12)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        pictures_in(tmp_path / "empty", tmp_path / "model", spec)
    with pytest.raises(InputError, match="is no folder"):
        pictures_in(tmp_path / "nowhere", tmp_path / "model", spec)
