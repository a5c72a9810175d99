"""The cost model of the search: predicted against measured online seconds, by architecture and network."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.harness.deployment import Deployment, of_model
from benchmarks.harness.ours import DEADLINE
from privinf import speed
from privinf.models.sharing.share import share
from privinf.protocols.contract import QueryShape
from privinf.protocols.cost import NETWORKS
from privinf.sdk.client import Client
from privinf.search.counting import counted, some
from privinf.search.seconds import Clock
from privinf.train.architecture import Architecture, parse
from privinf.train.building import Images, images_of, spec_of
from privinf.train.directory import write_model
from privinf.train.recipe import Recipe
from privinf.train.recipes import read
from privinf.train.vision import Vision, initial

# Of four layers of four heads: each kind alone, mixes by heads and by layers, activations.
NAMES = (
    "xxxx-xxxx-xxxx-xxxx",
    "rrrr-rrrr-rrrr-rrrr",
    "ssss-ssss-ssss-ssss",
    "qqqq-qqqq-qqqq-qqqq",
    "rrss-rrss-rrss-rrss",
    "rsss-rsss-rsss-rsss",
    "rrrr-ssss-ssss-rrrr",
    "ssss-rrrr-rrrr-ssss",
    "rrrr-rrrr-rrrr-ssss",
    "ssss-ssss-ssss-rsss",
    "rrrr-rrrr.l-rrrr.l-rrrr",
    "ssss.l-ssss.l-ssss.l-ssss.l",
    "xxxx-ssss-ssss-xxxx",
    "rrss.l-rrss-ssss-rrrr.l",
)


def predicted(recipe: Recipe, images: Images, architecture: Architecture) -> dict[str, float]:
    """Seconds on each network, of weights as training begins with them."""
    spec = spec_of(recipe, images.whole, architecture)
    cost = counted(spec, Vision(spec, initial(spec, recipe.seed)).arrays(), images)
    known = speed.stored() or speed.measure()
    return {name: Clock(network, known).seconds(cost) for name, network in NETWORKS.items()}


def measure(
    recipe: Recipe, images: Images, architecture: Architecture, network: str, repeat: int
) -> list[float]:
    """Online seconds of single images by three processes with mutual TLS, after one to warm up."""
    spec = spec_of(recipe, images.whole, architecture)
    network_of = Vision(spec, initial(spec, recipe.seed))
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as scratch:
        folder = Path(scratch)
        write_model(folder / "model", network_of, images)
        share(folder / "model", folder / "shared", images=some(images))
        shape = QueryShape(spec.task, 1, spec.max_tokens)
        head = of_model(folder / "shared")
        with Deployment(head, folder, network=network, ahead=2, shapes=[shape]) as servers:
            return list(_asked(folder / "shared" / "client", servers, images, repeat))


def _asked(model: Path, servers: Deployment, images: Images, repeat: int) -> Iterator[float]:
    with Client(model, parties=servers.addresses, tls=servers.tls(), deadline=DEADLINE) as client:
        for turn in range(repeat + 1):
            answer = client.classify(np.array(images.whole.test.images[turn : turn + 1]))
            if turn:
                yield answer.stats.online_seconds


def error(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Median of relative errors, and rank correlation."""
    said, seen = (np.array([row[key] for row in rows]) for key in ("predicted", "measured"))
    ranks = [np.argsort(np.argsort(values)) for values in (said, seen)]
    return {
        "median_error": float(np.median(np.abs(said - seen) / seen)),
        "rank_correlation": float(np.corrcoef(*ranks)[0, 1]),
    }


def main() -> None:
    """Write benchmarks/results/search-cost.json; what --work holds is not measured again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.search_cost", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="for rows, each written when it is measured")
    parser.add_argument("--recipe", default="small-cifar10")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--architecture", action="append", help=f"by default {len(NAMES)} of four layers")
    parser.add_argument("--network", action="append", choices=list(NETWORKS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "search-cost.json")
    given = parser.parse_args()
    about, recipe = machine.about(), read(given.recipe, given.set)
    images, rows = images_of(recipe.data, recipe.seed), []
    given.work.mkdir(parents=True, exist_ok=True)
    rows_count = spec_of(recipe, images.whole, _parsed(recipe, NAMES[0], 1)).max_tokens
    for name in given.architecture or NAMES:
        architecture = _parsed(recipe, name, rows_count)
        for network in given.network or NETWORKS:
            rows.append(_row(given.work, recipe, images, architecture, network, given.repeat))
    by_network = {
        name: error([row for row in rows if row["network"] == name]) for name in given.network or NETWORKS
    }
    result = {"benchmark": "search cost", **about, "recipe": given.recipe, "settings": given.set}
    machine.write(given.json, result | {"all": error(rows), "networks": by_network, "rows": rows})


def _parsed(recipe: Recipe, name: str, rows: int) -> Architecture:
    return parse(name, recipe.model.layers, recipe.model.heads, rows)


def _row(
    work: Path, recipe: Recipe, images: Images, architecture: Architecture, network: str, repeat: int
) -> dict[str, Any]:
    path = work / f"{architecture.folder}-{network}.json"
    if not path.is_file():
        seconds = measure(recipe, images, architecture, network, repeat)
        said = predicted(recipe, images, architecture)[network]
        row = {"architecture": architecture.name, "network": network, "predicted": said}
        path.write_text(json.dumps(row | {"measured": median(seconds), "runs": seconds}), "utf-8")
        print(
            f"{architecture.name} {network}: {said:.3f} s, {median(seconds):.3f} s",
            file=sys.stderr,
            flush=True,
        )
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
