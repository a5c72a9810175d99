"""Candidates: a teacher and a supernet first, then each architecture counted, and trained in a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import torch

from privinf.search.counting import counted
from privinf.search.seconds import head_prices, row_prices
from privinf.search.settings import Search
from privinf.search.space import BENT, CHEAP, RICH, STRAIGHT, Space, Values
from privinf.search.trials import Bill, Report
from privinf.train.architecture import Architecture, uniform
from privinf.train.building import Images, images_of, spec_of
from privinf.train.evaluate import accuracy
from privinf.train.folder import owned
from privinf.train.prices import Price
from privinf.train.recipe import Recipe
from privinf.train.run import Job, Result, finished
from privinf.train.supernet import ALPHA, BETA, Choices, Supernet
from privinf.train.vision import Vision
from privinf.train.watching import Nobody, Watcher

TEACHER, SUPERNET, MODELS = "teacher", "supernet", "models"


class Candidates:
    """What a search's trials are judged by; everything is kept in its folder, and made again where it is missing."""

    def __init__(self, folder: Path, search: Search, watcher: Watcher | None = None) -> None:
        self.folder, self.search, self._watcher = folder, search, watcher or Nobody()
        self.bill = cache(self._bill)

    @property
    def recipe(self) -> Recipe:
        return self.search.recipe

    @cached_property
    def images(self) -> Images:
        self._watcher.begin("reading images", 0)
        return images_of(self.recipe.data, self.recipe.seed, self._watcher.tick)

    @cached_property
    def rows(self) -> int:
        """That feed-forward parts take."""
        return spec_of(self.recipe, self.images.whole, self._all(RICH)).max_tokens

    def _all(self, variant: str, bend: str = BENT) -> Architecture:
        return uniform(self.recipe.model.layers, self.recipe.model.heads, variant, bend)

    @cached_property
    def teacher(self) -> Path | None:
        """The folder of a model with softmax alone; none where nothing is to be learnt from one."""
        told = self.recipe.distillation
        if not (told.logits or told.features):
            return None
        folder = self.folder / TEACHER
        with owned(folder, wait=True):
            Job(self.recipe, self.images, self._all("softmax")).training(folder, self._watcher).run()
        return folder

    @cached_property
    def _example(self) -> Vision:
        """What ranges are measured with before there is a supernet."""
        job = Job(self.recipe, self.images, self._all("softmax"), self.teacher)
        return job.network() if job.teacher is None else job.taught(job.teacher)

    @cached_property
    def prices(self) -> tuple[tuple[Price, ...], tuple[Price, ...]]:
        """Of heads, and of rows where those choose too."""
        shape, told = self.recipe.model, self.recipe.choosing

        @cache
        def seconds(architecture: Architecture) -> float:
            return self._bill(architecture, self._example).seconds

        heads = head_prices(seconds, shape.layers, shape.heads, whole=told.grain == "layer")
        if told.bends == "none":
            return heads, ()
        rows = 1 if told.bends == "layer" else self.rows
        return heads, row_prices(seconds, shape.layers, shape.heads, rows)

    @cached_property
    def supernet(self) -> Vision:
        """Trained with alpha and beta beside its weights."""
        recipe, told = self.recipe, self.recipe.choosing
        if told.epochs:
            recipe = replace(recipe, optimisation=replace(recipe.optimisation, epochs=told.epochs))
        choices = Choices.start(told, recipe.model.layers, recipe.model.heads, self.rows)
        if told.seconds:
            choices = choices.priced(*self.prices)
        folder = self.folder / SUPERNET
        with owned(folder, wait=True):
            job = Job(recipe, self.images, self._all(RICH))
            network = Supernet(job.network(), choices)
            job.training(folder, self._watcher, network).run()
        return network

    @cached_property
    def space(self) -> Space:
        """By the supernet's alpha and beta."""
        heads, rows = self.prices
        found = self.supernet.parameters
        betas = _values(found[BETA]) if BETA in found else ()
        return Space(self.recipe.model.heads, _values(found[ALPHA]), heads, betas, rows)

    def cheapest(self) -> Bill:
        """Of all that may be chosen."""
        bend = BENT if self.recipe.choosing.bends == "none" else STRAIGHT
        return self._bill(self._all(CHEAP, bend), self._example)

    def _bill(self, architecture: Architecture, network: Vision | None = None) -> Bill:
        """With the ranges of the supernet's weights in that architecture."""
        spec = spec_of(self.recipe, self.images.whole, architecture)
        return self.search.clock.bill(counted(spec, (network or self.supernet).arrays(), self.images))

    def train(self, architecture: Architecture, report: Report) -> float | None:
        """With its own weights from scratch; each epoch's accuracy is on the images held out."""
        job = Job(self.recipe, self.images, architecture, self.teacher)
        with owned(folder := self.of(architecture), wait=True):
            training = job.training(folder, self._watcher)
            while True:
                seen = [float(epoch["accuracy"]) for epoch in training.standing.history]
                if training.over:
                    return seen[-1] if report(seen) else None
                if seen and not report(seen):
                    return None
                training.advance()

    def finish(self, architecture: Architecture) -> Result:
        """Of one that was trained: accuracy on the test images, and a model to share."""
        job = Job(self.recipe, self.images, architecture, self.teacher)
        with owned(folder := self.of(architecture), wait=True):
            training = job.training(folder, self._watcher)
            training.run()
            return finished(job, training, folder)

    def test(self, architecture: Architecture) -> float:
        """Accuracy on all test images."""
        job = Job(self.recipe, self.images, architecture, self.teacher)
        network = job.training(self.of(architecture), self._watcher).network
        return accuracy(network, self.images.whole.test, self.images.scale, self.recipe.device)

    def of(self, architecture: Architecture) -> Path:
        """Where a candidate is trained."""
        return self.folder / MODELS / architecture.folder


def _values(x: torch.Tensor) -> Values:
    return tuple(tuple(row) for row in x.detach().tolist())
