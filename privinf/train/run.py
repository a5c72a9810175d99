"""Trains a recipe in a folder, from where an earlier run stopped, and leaves a model there that can be shared."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from privinf.errors import ConfigError
from privinf.models.spec import ModelSpec
from privinf.train import checkpoint
from privinf.train.architecture import Architecture
from privinf.train.building import Images, architecture_of, images_of, spec_of
from privinf.train.directory import write_model
from privinf.train.evaluate import accuracy
from privinf.train.folder import owned
from privinf.train.loop import Material, Training
from privinf.train.network import Network, load_weights
from privinf.train.recipe import Recipe
from privinf.train.recipes import changed, document
from privinf.train.vision import Vision, initial
from privinf.train.watching import Curves, Nobody, Several, Watcher

MODEL, RESULT, EVENTS = "model", "result.json", "events"


@dataclass(frozen=True)
class Result:
    """test: accuracy on all test images; validation: on what was held out, if anything was."""

    folder: Path
    test: float
    validation: float | None
    epochs: int
    images: int

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"folder": str(self.folder), "model": str(self.folder / MODEL)}


@dataclass(frozen=True)
class Job:
    """What is trained on which images; `teacher` is the folder of a run whose network is learnt from."""

    recipe: Recipe
    images: Images
    architecture: Architecture
    teacher: Path | None = None

    @property
    def spec(self) -> ModelSpec:
        return spec_of(self.recipe, self.images.whole, self.architecture)

    def network(self) -> Vision:
        """As it begins."""
        drops = self.recipe.dropping
        weights = initial(self.spec, self.recipe.seed)
        return Vision(
            self.spec,
            weights,
            attention_drops=drops.attention,
            depth=drops.depth,
            features=self.teacher is not None,
        )

    def material(self) -> Material:
        images = self.images
        validation = None if images.validation is None else images.validation.test
        teacher = None if self.teacher is None else self.taught(self.teacher)
        classes = len(images.whole.classes)
        return Material(images.train.train, validation, classes, images.scale, teacher)

    def taught(self, folder: Path) -> Vision:
        """The network of a run that is over, to learn from."""
        path = folder / checkpoint.FILE
        found = checkpoint.read(path)
        if found is None:
            raise ConfigError(f"{folder} holds no run of `privinf train` to learn from")
        name = found.about["settings"]["architecture"]
        theirs = changed(self.recipe, {"model": found.about["settings"]["recipe"]["model"]})
        spec = spec_of(theirs, self.images.whole, architecture_of(theirs, name, self.images.whole))
        network = Vision(spec, initial(spec, 0))
        load_weights(network, found, path)
        return network

    def training(self, folder: Path, watcher: Watcher, network: Network | None = None) -> Training:
        """As it stands in a folder: of the job's own network, or another one."""
        path = folder / checkpoint.FILE
        return Training(self.recipe, network or self.network(), self.material(), path, watcher, self.about())

    def about(self) -> dict[str, Any]:
        """What a checkpoint's weights depend on beside the recipe."""
        whole = self.images.whole
        return {
            "architecture": self.architecture.name,
            "teacher": None if self.teacher is None else checkpoint.digest(self.teacher / checkpoint.FILE),
            "images": {"classes": whole.classes, "train": len(whole.train), "test": len(whole.test)},
        }


def train(
    recipe: Recipe,
    out: Path,
    *,
    architecture: str | None = None,
    teacher: Path | None = None,
    curves: bool = False,
    watcher: Watcher | None = None,
) -> Result:
    """Train to the end in `out`; where a run of the same settings stopped there, it goes on.

    Args:
        recipe: see privinf.train.recipes.read.
        out: a folder for checkpoints, the result and the model, which `privinf share` takes.
        architecture: a name that a search gave; by default all layers are alike, as the recipe says.
        teacher: the folder of another run, to learn from.
        curves: whether to write TensorBoard's event files.
        watcher: told of steps and epochs.

    Raises:
        ConfigError: the folder holds another run, or another process is at work in it.
        InputError: images, or a checkpoint, that cannot be used.
    """
    watcher = watcher or Nobody()
    with owned(out):
        watcher.begin("reading images", 0)
        images = images_of(recipe.data, recipe.seed, watcher.tick)
        job = Job(recipe, images, architecture_of(recipe, architecture, images.whole), teacher)
        training = job.training(out, watcher)
        with _curves(out, training, watcher) if curves else nullcontext():
            training.run()
        return finished(job, training, out)


def _curves(out: Path, training: Training, watcher: Watcher) -> Curves:
    made = Curves(out / EVENTS, training.standing.epoch)
    training.watch(Several(watcher, made))
    return made


def finished(job: Job, training: Training, out: Path) -> Result:
    """Measure accuracy on all test images, and write the model and the result."""
    network, images = training.network, job.images
    assert isinstance(network, Vision)
    right = accuracy(network, images.whole.test, images.scale, job.recipe.device)
    history = training.standing.history
    result = Result(out, right, history[-1]["accuracy"], len(history), len(images.train.train))
    write_model(out / MODEL, network, images)
    settings = job.about() | {"recipe": document(job.recipe)}
    checkpoint.write_json(out / RESULT, result.document() | {"history": history} | settings)
    return result
