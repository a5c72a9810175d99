"""MPCViT's claims at small scale: accuracy of searched, random and uniform mixes of attention, also with a teacher."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.harness.intervals import difference, interval
from benchmarks.harness.runs import Run, done, keep, perform, timed
from privinf import speed
from privinf.protocols.cost import NETWORKS
from privinf.search.counting import counted
from privinf.search.seconds import Clock, head_prices
from privinf.search.space import CHEAP, RICH, Space
from privinf.train.architecture import Architecture, kept, uniform
from privinf.train.building import Images, images_of, spec_of
from privinf.train.evaluate import accuracy
from privinf.train.folder import owned
from privinf.train.prices import Price, frontier
from privinf.train.recipe import Recipe
from privinf.train.recipes import read
from privinf.train.run import Job, finished
from privinf.train.supernet import ALPHA, BETA, Choices, Supernet
from privinf.train.watching import Nobody

MODULE = "benchmarks.measure.search_tradeoff"
RATIOS = (0.3, 0.7)
TAUGHT = 0.3  # the ratio at which a teacher is tried
UNIFORM = {"softmax": "softmax", "relu": RICH, "scaling": CHEAP, "quad": "quad"}
PAIRS = (  # what the paper claims of which two
    ("searched-0.3", "random-0.3"),
    ("searched-0.7", "random-0.7"),
    ("searched-0.3", "scaling"),
    ("searched-0.7", "relu"),
    ("searched-0.7", "softmax"),
    ("searched-0.7", "quad"),
    ("taught-searched", "searched-0.3"),
    ("taught-searched", "taught-random"),
    ("taught-random", "random-0.3"),
    ("plus", "taught-searched"),
    ("found-0.3", "searched-0.3"),
    ("found-0.7", "searched-0.7"),
)
NETWORK = "wan"  # whose seconds the cost term counts
SECONDS = 0.1  # its weight


def kinds() -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is trained for each seed, and what that needs."""
    for name in UNIFORM:
        yield name, ()
    yield "supernet", ()
    for ratio in RATIOS:
        yield f"searched-{ratio}", ("supernet",)
        yield f"random-{ratio}", ()
    yield "taught-searched", ("supernet", "softmax")
    yield "taught-random", ("softmax",)
    yield "plus", ("supernet", "softmax")
    yield "supernet-wan", ("softmax",)
    for ratio in RATIOS:
        yield f"found-{ratio}", ("supernet-wan", f"searched-{ratio}")


def runs(seeds: Sequence[int]) -> list[Run]:
    """Fifteen for each seed."""
    return [
        Run(f"{kind}-seed{seed}", tuple(f"{need}-seed{seed}" for need in needs), {"kind": kind, "seed": seed})
        for seed in seeds
        for kind, needs in kinds()
    ]


def one(work: Path, made: Run, recipe: Recipe) -> dict[str, Any]:
    """Train it: accuracy on all test images, and what it chose."""
    kind, seed = made.told["kind"], made.told["seed"]
    recipe = replace(recipe, seed=seed)
    images = images_of(recipe.data, recipe.seed)
    if kind.startswith("supernet"):
        return _supernet(work, made.name, Job(recipe, images, _uniform(recipe, RICH)), kind == "supernet")
    architecture = _architecture(work, recipe, images, kind)
    teacher = work / f"softmax-seed{seed}" if kind.startswith(("taught", "plus")) else None
    job = Job(recipe, images, architecture, teacher)
    training = job.training(work / made.name, Nobody())
    training.run()
    result = finished(job, training, work / made.name)
    return {"architecture": architecture.name, "accuracy": result.test}


def _supernet(work: Path, name: str, job: Job, plain: bool) -> dict[str, Any]:
    """The paper's, with activations too; or that of heads alone, which knows their seconds."""
    recipe, rows = job.recipe, job.spec.max_tokens
    told = replace(recipe.choosing, bends="token") if plain else replace(recipe.choosing, seconds=SECONDS)
    choices = Choices.start(told, recipe.model.layers, recipe.model.heads, rows)
    prices: tuple[Price, ...] = ()
    if not plain:
        prices = head_prices(_seconds(work, recipe, job.images), recipe.model.layers, recipe.model.heads)
        choices = choices.priced(prices, ())
    network = Supernet(job.network(), choices)
    job.training(work / name, Nobody(), network).run()
    right = accuracy(network, job.images.whole.test, job.images.scale)
    chosen = {key: x.detach().tolist() for key, x in choices.parameters.items()}
    return {
        "accuracy": right,
        "alpha": chosen[ALPHA],
        "beta": chosen.get(BETA),
        "prices": [*map(asdict, prices)],
    }


def _seconds(work: Path, recipe: Recipe, images: Images) -> Callable[[Architecture], float]:
    """Predicted seconds of an architecture with the ranges of the softmax model's weights."""
    clock = Clock(NETWORKS[NETWORK], speed.stored() or speed.measure())
    job = Job(recipe, images, _uniform(recipe, "softmax"))
    weights = job.taught(work / f"softmax-seed{recipe.seed}").arrays()

    @cache
    def seconds(architecture: Architecture) -> float:
        spec = spec_of(recipe, images.whole, architecture)
        return clock.seconds(counted(spec, weights, images))

    return seconds


def _uniform(recipe: Recipe, variant: str) -> Architecture:
    return uniform(recipe.model.layers, recipe.model.heads, variant)


def _architecture(work: Path, recipe: Recipe, images: Images, kind: str) -> Architecture:
    """What a kind of run trains."""
    if kind in UNIFORM:
        return _uniform(recipe, UNIFORM[kind])
    ratio = float(kind.rpartition("-")[2]) if kind[-1].isdigit() else TAUGHT
    if "random" in kind:
        return _mixed(_random(recipe, ratio), ratio)
    if kind.startswith("found"):
        return _found(work, recipe, images, ratio)
    chosen = _outcome(work, f"supernet-seed{recipe.seed}")
    made = _mixed(chosen["alpha"], ratio)
    if kind != "plus":
        return made
    bent = kept(chosen["beta"], ratio)
    bends = tuple(tuple("gelu" if row else "linear" for row in layer) for layer in bent)
    return Architecture(made.heads, bends)


def _found(work: Path, recipe: Recipe, images: Images, ratio: float) -> Architecture:
    """Of what the supernet that knows seconds says is best, the dearest that is no dearer than the paper's choice."""
    chosen = _outcome(work, f"supernet-wan-seed{recipe.seed}")
    seconds, alpha = _seconds(work, recipe, images), chosen["alpha"]
    most = seconds(_mixed(_outcome(work, f"supernet-seed{recipe.seed}")["alpha"], ratio))
    space = Space(recipe.model.heads, alpha, tuple(Price(**price) for price in chosen["prices"]))
    made = [
        space.made({f"heads{i}": n for i, n in enumerate(counts)}) for counts in frontier(alpha, space.prices)
    ]
    return max((one for one in made if seconds(one) <= most * (1 + 1e-9)), key=seconds)


def _outcome(work: Path, name: str) -> dict[str, Any]:
    found = done(work, name)
    assert found is not None, name
    return found


def _random(recipe: Recipe, ratio: float) -> list[list[float]]:
    """A value for each head, in an order that the seed and the ratio decide."""
    layers, heads = recipe.model.layers, recipe.model.heads
    draws = np.random.default_rng((recipe.seed, round(100 * ratio)))
    order = draws.permutation(layers * heads).reshape(layers, heads)
    return [[float(value) for value in row] for row in order]


def _mixed(values: Sequence[Sequence[float]], ratio: float) -> Architecture:
    chosen = kept(values, ratio)
    heads = tuple(tuple(RICH if dear else CHEAP for dear in row) for row in chosen)
    return Architecture(heads, ("gelu",) * len(heads))


def summary(work: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy of each kind with its interval, and each claim."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for made in runs(seeds):
        outcome = done(work, made.name)
        if outcome is not None:
            found.setdefault(made.told["kind"], {})[made.told["seed"]] = outcome
    right = {kind: {seed: o["accuracy"] for seed, o in each.items()} for kind, each in found.items()}
    claims = {
        f"{a} against {b}": difference(right[a], right[b]) for a, b in PAIRS if a in right and b in right
    }
    accuracies = {
        kind: interval(list(each.values()))
        | {"architectures": [o.get("architecture") for o in found[kind].values()]}
        for kind, each in right.items()
    }
    spent = sum(o["core_seconds"] for each in found.values() for o in each.values())
    return {"seeds": list(seeds), "accuracy": accuracies, "claims": claims, "core_seconds": spent}


def main() -> None:
    """Write benchmarks/results/search-tradeoff.json; what a folder holds is not trained again."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="for runs, which go on where they stopped")
    parser.add_argument("--recipe", default="small-cifar10")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--run", help="one run alone, as this script calls itself")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "search-tradeoff.json")
    given = parser.parse_args()
    seeds, recipe = range(given.seeds), read(given.recipe, given.set)
    if given.run is not None:
        made = next(made for made in runs(seeds) if made.name == given.run)
        with owned(given.work / given.run):
            keep(given.work, given.run, timed(lambda: one(given.work, made, recipe)))
        return
    about = machine.about()
    told = ["--recipe", given.recipe, "--seeds", str(given.seeds), *(f"--set={s}" for s in given.set)]
    perform(MODULE, given.work, runs(seeds), given.processes, told)
    result = {"benchmark": "search trade-off", **about, "recipe": given.recipe, "settings": given.set}
    machine.write(given.json, result | summary(given.work, seeds))


if __name__ == "__main__":
    main()
