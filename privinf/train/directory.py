"""Writes a trained network as a model directory, which `privinf share` takes, whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from privinf.errors import FileError
from privinf.formats.directory import write_model as fill
from privinf.models.spec import ModelSpec
from privinf.train.building import Images
from privinf.train.vision import Vision

BILINEAR = 2  # as Pillow numbers it: how images were scaled when they were read


def write_model(folder: Path, network: Vision, images: Images) -> None:
    """In place of one that is there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            made, old = Path(scratch) / "made", Path(scratch) / "old"
            made.mkdir()
            _fill(made, network, images)
            if folder.exists():
                folder.rename(old)
            made.rename(folder)
    except OSError as error:
        raise FileError.unwritten(folder, error) from error


def copy_model(folder: Path, out: Path) -> None:
    """A model that was written, in a new directory."""
    try:
        shutil.copytree(folder, out, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise FileError(f"{folder} cannot be copied to {out}: {error}") from error


def _fill(folder: Path, network: Vision, images: Images) -> None:
    fill(folder, network.spec, network.arrays())
    text = json.dumps(_processor(network.spec, images), indent=1) + "\n"
    (folder / "preprocessor_config.json").write_text(text, "utf-8")


def _processor(spec: ModelSpec, images: Images) -> dict[str, object]:
    """What was done to images before the network saw them, as transformers' processors are told."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": spec.patches.height, "width": spec.patches.width},
        "resample": BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(images.scale.mean),
        "image_std": list(images.scale.deviation),
    }
