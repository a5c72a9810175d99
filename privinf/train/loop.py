"""The loop: batches in an order that the seed decides, AdamW, and checkpoints after which a run goes on bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privinf.errors import ConfigError, PrivinfError
from privinf.train import checkpoint
from privinf.train.augment import Scale, augment
from privinf.train.data import Split
from privinf.train.evaluate import accuracy, on
from privinf.train.losses import cross_entropy, distance
from privinf.train.network import Network, load_weights
from privinf.train.randomness import generator, order
from privinf.train.recipe import Recipe
from privinf.train.recipes import differences, document
from privinf.train.schedule import rate
from privinf.train.watching import Epoch, Nobody, Watcher

BETAS = (0.9, 0.999)
UNSHRUNK = ("embed.position",)  # matrices that do not shrink
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Diverged(PrivinfError):
    """The loss is not a number any more; a smaller rate may help."""


@dataclass
class Standing:
    """Where a run stands: the next step, the loss so far of its epoch, and the epochs before."""

    epoch: int = 0
    step: int = 0
    lost: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """What is learnt from, and what accuracy is measured on after each epoch, if anything is."""

    train: Split
    validation: Split | None
    classes: int
    scale: Scale
    teacher: Network | None = None


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many; the sums of others round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Training:
    """One run; `advance` takes it an epoch on."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        material: Material,
        path: Path | None,
        watcher: Watcher | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """about: what the weights depend on beside the recipe, as JSON has it; a checkpoint of another is refused."""
        if len(material.train) == 0:
            raise ConfigError("there is no image to train on")
        self.recipe, self.network, self.standing = recipe, network, Standing()
        self._material, self._path, self._watcher = material, path, watcher or Nobody()
        self._settings = {"recipe": document(recipe), **json.loads(json.dumps(about or {}))}
        self._optimiser = _optimiser(recipe, network)
        self._batch = min(recipe.optimisation.batch, len(material.train))
        self.steps = len(material.train) // self._batch
        if path is not None:
            self._resume(path)

    def watch(self, watcher: Watcher) -> None:
        """Tell another one from here on."""
        self._watcher = watcher

    @property
    def over(self) -> bool:
        return self.standing.epoch >= self.recipe.optimisation.all_epochs

    def run(self) -> None:
        """To the end."""
        while not self.over:
            self.advance()

    def advance(self) -> Epoch:
        """The rest of this epoch; a checkpoint follows it."""
        at = self.standing
        self._watcher.begin(f"epoch {at.epoch + 1} of {self.recipe.optimisation.all_epochs}", self.steps)
        self._watcher.tick(at.step)
        places = order(self.recipe.seed, at.epoch, len(self._material.train))
        with threads(self.recipe.threads):
            while at.step < self.steps:
                chosen = np.sort(places[at.step * self._batch :][: self._batch])
                at.lost += self._step(chosen, at.epoch, at.step)
                at.step += 1
                self._watcher.tick(1)
            done = self._epoch()
        at.epoch, at.step, at.lost = at.epoch + 1, 0, 0.0
        at.history.append(done.document())
        self.save()
        self._watcher.epoch(done)
        return done

    def _epoch(self) -> Epoch:
        at, validation = self.standing, self._material.validation
        seen = (
            None
            if validation is None
            else accuracy(self.network, validation, self._material.scale, self._device)
        )
        return Epoch(at.epoch, at.lost / self.steps, self._optimiser.param_groups[0]["lr"], seen)

    @property
    def _device(self) -> str:
        return self.recipe.device

    def _step(self, places: np.ndarray[Any, np.dtype[np.int64]], epoch: int, step: int) -> float:
        recipe, material = self.recipe, self._material
        draws = generator(recipe.seed, "step", epoch, step, device=self._device)
        now = rate(recipe.optimisation, epoch * self.steps + step, self.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = now * group["pace"]
        images, labels = on(self._device, material.train.at(places))
        images, soft = augment(
            images, labels, material.classes, recipe.augmentation, material.scale, epoch, draws
        )
        loss = self._loss(images, soft, draws)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.optimisation.clip:
            torch.nn.utils.clip_grad_norm_(list(self.network.parameters.values()), recipe.optimisation.clip)
        self._optimiser.step()
        return _finite(float(loss.detach()), epoch, step)

    def _loss(self, images: Tensor, soft: Tensor, draws: torch.Generator) -> Tensor:
        precision = self.recipe.optimisation.precision
        with torch.autocast(self._device, TYPES[precision], enabled=precision != "float32"):
            own = self.network.run(images, draws)
            loss = cross_entropy(own.logits, soft)
            if (teacher := self._material.teacher) is not None:
                with torch.no_grad():
                    said = teacher.run(images, None)
                loss = loss + distance(own, said, self.recipe.distillation)
        extra = self.network.penalty()
        return loss if extra is None else loss + extra

    def save(self) -> None:
        """Weights, the optimiser's state, and where the run stands: draws follow from that."""
        if self._path is None:
            return
        at = self.standing
        tensors = {f"weights/{name}": _array(x) for name, x in self.network.parameters.items()}
        for name, x in self.network.parameters.items():
            tensors |= {f"adam/{name}/{k}": _array(v) for k, v in self._optimiser.state.get(x, {}).items()}
        about = {"epoch": at.epoch, "step": at.step, "lost": at.lost, "history": at.history}
        checkpoint.write(self._path, tensors, about | {"settings": self._settings})

    def _resume(self, path: Path) -> None:
        found = checkpoint.read(path)
        if found is None:
            return
        if odd := differences(found.about["settings"], self._settings):
            raise ConfigError(
                f"{path.parent} holds a run with other settings ({', '.join(odd)}): choose another"
            )
        load_weights(self.network, found, path)
        state = found.part("adam")
        for name, x in self.network.parameters.items():
            keys = [key for key in state if key.rpartition("/")[0] == name]
            self._optimiser.state[x] = {
                key.rpartition("/")[2]: torch.from_numpy(state[key]).to(_place(key, x)) for key in keys
            }
        about = found.about
        self.standing = Standing(about["epoch"], about["step"], about["lost"], list(about["history"]))


def _place(key: str, x: Tensor) -> torch.device:
    return torch.device("cpu") if key.endswith("/step") else x.device


def _optimiser(recipe: Recipe, network: Network) -> torch.optim.AdamW:
    """Matrices shrink; norms, biases and choices do not, unless the recipe says that choices do."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, x in network.parameters.items():
        chosen = name in network.choices
        shrinks = recipe.choosing.decay if chosen else x.ndim > 1 and name not in UNSHRUNK
        pace = recipe.choosing.rate if chosen else 1.0
        groups.setdefault((recipe.optimisation.decay if shrinks else 0.0, pace), []).append(x)
    made = [{"params": xs, "weight_decay": decay, "pace": pace} for (decay, pace), xs in groups.items()]
    return torch.optim.AdamW(made, lr=recipe.optimisation.rate, betas=BETAS, fused=True)


def _array(x: Tensor) -> np.ndarray[Any, Any]:
    made: np.ndarray[Any, Any] = x.detach().cpu().numpy()
    return made


def _finite(loss: float, epoch: int, step: int) -> float:
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}: choose a smaller rate")
    return loss
