"""Runs: a folder of images becomes a model, and a run that was killed goes on to the same weights bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

import photographs
import torch

from privinf.errors import ConfigError
from privinf.models.source.checkpoint import load
from privinf.train.building import images_of
from privinf.train.checkpoint import FILE
from privinf.train.run import MODEL, RESULT, train
from privinf.train.vision import Vision

KILLED = """
import os, signal, sys
from pathlib import Path
import photographs
from privinf.train.run import train
from privinf.train.watching import Nobody

class Killer(Nobody):
    steps = 0
    def tick(self, done):
        Killer.steps += done
        if Killer.steps == 5:
            os.kill(os.getpid(), signal.SIGKILL)

train(photographs.recipe(Path(sys.argv[1])), Path(sys.argv[2]), watcher=Killer())
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return photographs.folder(tmp_path / "images")


def test_a_folder_of_images_becomes_a_model(images: Path, tmp_path: Path) -> None:
    recipe = photographs.recipe(images, "optimisation.epochs=30")
    made = train(recipe, tmp_path / "run")
    assert made.test > 0.9
    result = json.loads((tmp_path / "run" / RESULT).read_text())
    assert (result["test"], result["architecture"], len(result["history"])) == (made.test, "xx-xx", 30)
    spec, weights = load(tmp_path / "run" / MODEL)
    assert spec.labels == photographs.CLASSES
    again = Vision(spec, {name: torch.from_numpy(w) for name, w in weights.items()})
    whole = images_of(recipe.data, recipe.seed)
    pixels = torch.from_numpy(np.array(whole.whole.test.images)).permute(0, 3, 1, 2)
    said = again.run(whole.scale.of(pixels.contiguous())).logits.argmax(-1).numpy()
    assert np.mean(said == whole.whole.test.labels) == made.test


def test_a_run_that_is_over_is_not_run_again(images: Path, tmp_path: Path) -> None:
    one = train(photographs.recipe(images), tmp_path / "run")
    before = (tmp_path / "run" / FILE).read_bytes()
    assert train(photographs.recipe(images), tmp_path / "run") == one
    assert (tmp_path / "run" / FILE).read_bytes() == before


def test_another_architecture_or_teacher_is_another_run(images: Path, tmp_path: Path) -> None:
    recipe = photographs.recipe(images, "optimisation.epochs=1")
    train(recipe, tmp_path / "teacher")
    train(recipe, tmp_path / "run", teacher=tmp_path / "teacher")
    with pytest.raises(ConfigError, match=r"other settings \(architecture, teacher\)"):
        train(recipe, tmp_path / "run", architecture="xx-ss")
    with pytest.raises(ConfigError, match="no run of"):
        train(recipe, tmp_path / "other", teacher=tmp_path / "nothing")


def test_curves(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    train(photographs.recipe(images, "optimisation.epochs=1"), tmp_path / "run", curves=True)
    events = list((tmp_path / "run" / "events").iterdir())
    assert len(events) == 1
    assert b"accuracy" in events[0].read_bytes()


@pytest.mark.slow
@pytest.mark.processes
def test_a_run_that_was_killed_goes_on_to_the_same_weights(images: Path, tmp_path: Path) -> None:
    recipe = photographs.recipe(images)
    whole = train(recipe, tmp_path / "whole")
    words = [sys.executable, "-c", KILLED, str(images), str(tmp_path / "broken")]
    for _ in range(2):  # in the second epoch, then in the third
        done = subprocess.run(words, cwd=Path(photographs.__file__).parent, check=False)
        assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "broken" / RESULT).exists()
    broken = train(recipe, tmp_path / "broken")
    assert (broken.test, broken.validation) == (whole.test, whole.validation)
    one, other = (load_file(tmp_path / name / FILE) for name in ("whole", "broken"))
    assert all(np.array_equal(one[name], other[name]) for name in {*one, *other})
    assert (tmp_path / "whole" / MODEL / "model.safetensors").read_bytes() == (
        tmp_path / "broken" / MODEL / "model.safetensors"
    ).read_bytes()
