"""Pictures asked of real servers in this process: by the SDK, both clients, and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("PIL.Image")

import tiny_images
import torch
from deployment import Deployment, in_this_process
from PIL import Image

from privinf.cli import main
from privinf.errors import InputError, ModelError, OptionError
from privinf.models.clear import ClearImages
from privinf.models.fold import fold
from privinf.models.source.checkpoint import load
from privinf.models.source.processor import FILE, read_rules
from privinf.sdk.pictures import listed, pixels_of

NEAR = 0.02
RULES = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 12}}


def pictures(folder: Path, count: int = 3) -> list[Path]:
    """Photographs' like, in several sizes and modes."""
    draw, made = np.random.default_rng(4), []
    folder.mkdir(parents=True, exist_ok=True)
    for place, mode in zip(range(count), ("RGB", "RGBA", "L"), strict=False):
        small = Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        path = folder / f"{place}.png"
        small.resize((30 + 7 * place, 21)).convert(mode).save(path)
        made.append(path)
    return made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A ViT-Lite with heads of two kinds, shared by the command with an owner's pictures."""
    folder = tmp_path_factory.mktemp("images")
    source = folder / "model"
    tiny_images.write_lite(source, 3, attention=[["relu_softmax", "scaling", "scaling"], "softmax"])
    (source / FILE).write_text(json.dumps(RULES))
    pictures(folder / "own")
    own = ["--images", str(folder / "own")]
    assert main(["share", str(source), "--out", str(folder / "shared"), *own]) == 0
    with in_this_process(source, folder / "shared", folder) as deployment:
        yield deployment


def clear(deployment: Deployment, files: list[Path]) -> np.ndarray:
    """Float32 logits."""
    spec, weights = load(deployment.source)
    pixels = pixels_of(listed(files), read_rules(deployment.source, spec), spec.patches)
    return np.asarray(ClearImages(spec, fold(spec, weights)).run(torch.from_numpy(pixels))[:, 0])


def test_pictures_are_classified_as_by_the_plain_model(served: Deployment, tmp_path: Path) -> None:
    files = pictures(tmp_path)
    wanted = clear(served, files)
    with served.client() as client:
        answer = client.classify(files)
        np.testing.assert_allclose(answer.logits, wanted, atol=NEAR)
        assert list(answer.labels) == [("down", "level", "up")[place] for place in wanted.argmax(1)]
        one = client.classify(Image.open(files[1]))
        np.testing.assert_allclose(one.logits, wanted[1:2], atol=NEAR)
        array = client.classify(np.asarray(Image.open(files[0])))
        np.testing.assert_allclose(array.logits, wanted[:1], atol=NEAR)
        done: list[int] = []
        spec, _ = load(served.source)
        pixels = pixels_of(listed(files), read_rules(served.source, spec), spec.patches)
        scaled = client.classify(pixels, progress=done.append)
        np.testing.assert_allclose(scaled.logits, wanted, atol=NEAR)
        assert sum(done) == 3


def test_an_async_client_classifies_pictures(served: Deployment, tmp_path: Path) -> None:
    files = pictures(tmp_path)

    async def asked() -> Any:
        async with served.async_client() as client:
            return await client.classify(files)

    np.testing.assert_allclose(asyncio.run(asked()).logits, clear(served, files), atol=NEAR)


def test_what_a_model_of_images_does_not_take(served: Deployment) -> None:
    with served.client() as client:
        with pytest.raises(InputError, match="picture 0 must be a path"):
            client.classify([3])  # type: ignore[list-item]
        with pytest.raises(OptionError, match="truncate: this is for texts"):
            client.classify(["a.png"], truncate=True)
        with pytest.raises(InputError, match="classify"):
            client.embed("a text")


def test_the_command_classifies_pictures(
    served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pictures(tmp_path)
    settings = served.toml(tmp_path / "client.toml")
    options = ["--model", str(served.model), "--config", settings]
    given = [word for path in files for word in ("--image", str(path))]
    assert main(["classify", *given, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    labels = [("down", "level", "up")[place] for place in clear(served, files).argmax(1)]
    assert [line.split("\t")[0] for line in lines] == labels
    assert [line.split("\t")[2] for line in lines] == [str(path) for path in files]
    assert main(["classify", *given, "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == labels
    assert main(["classify", "a text", *given, *options]) == OptionError.exit_code
    assert main(["classify", "--image", str(tmp_path / "none.png"), *options]) != 0
    assert "none.png" in capsys.readouterr().err


def test_commands_of_an_owner(served: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(served.model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 7
    lines = tmp_path / "lines"
    lines.write_text("a text\n")
    assert main(["check", str(served.shared), "--text", str(lines)]) == ModelError.exit_code
    assert "takes images" in capsys.readouterr().err
    share = ["share", str(served.source), "--out", str(tmp_path / "again")]
    assert main([*share, "--calibration", str(lines)]) != 0
    assert "this model takes images" in capsys.readouterr().err
