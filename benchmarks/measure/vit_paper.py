"""Private latency and bytes of the MPCViT paper's architectures, with made-up weights, over processes and links."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.workloads.vision import CIFAR, TINY, Shape, architectures, served, share

SHAPES = {"cifar10": CIFAR, "tiny-imagenet": TINY}
MUS = {"cifar10": (0.1, 0.3, 0.5, 0.7), "tiny-imagenet": (0.1, 0.7)}
NO_ROOM = {
    ("tiny-imagenet", "quad")
}  # sums of 257 squares of these scores, with headroom, need more than 64 bits
# Two depths of the CIFAR shape, whose difference is one layer of all rows
DEPTHS = (2, 4)
SECONDS = ("online", "offline", "total")


@dataclass(frozen=True)
class Case:
    """One architecture on one network."""

    data: str
    name: str
    network: str
    shape: Shape
    attention: Any

    @property
    def key(self) -> str:
        return f"{self.data}/{self.name}/{self.network}"


def cases(networks: list[str]) -> Iterator[Case]:
    """Depths first, on loopback alone; then every architecture on every network."""
    for depth in DEPTHS:
        for name in ("softmax", "scaling"):
            yield Case("cifar10", f"{name}-{depth}-layers", "loopback", replace(CIFAR, layers=depth), name)
    for data, shape in SHAPES.items():
        for name, attention in architectures(shape, MUS[data]).items():
            if (data, name) in NO_ROOM:
                continue
            for network in networks:
                yield Case(data, name, network, shape, attention)


def measure(case: Case, repeat: int) -> dict[str, Any]:
    """Seconds of queries one after the other, each with a preparation on demand, and declared costs."""
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder:
        model = share(case.shape, case.attention, Path(folder))
        with served(model, case.network) as asker:
            samples = [asker.ask(1 + turn) for turn in range(repeat)]
    first, found = samples[0], dict[str, Any]()
    for phase in SECONDS:
        each = [getattr(sample, phase) for sample in samples]
        found[phase] = {"median": statistics.median(each), "min": min(each), "max": max(each)}
    counts = {"rounds": first.rounds, "online_bytes": first.online_bytes, "prep_bytes": first.prep_bytes}
    error = max(sample.error for sample in samples)
    about = {"data": case.data, "name": case.name, "network": case.network, "attention": case.attention}
    return about | found | counts | {"max_abs_error": error, "repeats": repeat}


def main() -> None:
    """Write benchmarks/results/vit-paper.json, a case after the other; --resume leaves out what is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.vit_paper", description=__doc__)
    parser.add_argument("--network", nargs="+", default=["lan", "wan"])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "vit-paper.json")
    given = parser.parse_args()
    done: dict[str, Any] = json.loads(given.json.read_text())["cases"] if given.resume else {}
    for case in cases(given.network):
        if case.key in done or given.only not in case.key:
            continue
        done[case.key] = measure(case, given.repeat)
        machine.write(given.json, {"benchmark": "vit paper", **machine.about(), "cases": done})
        took = done[case.key]
        said = ", ".join(f"{phase} {took[phase]['median']:.2f} s" for phase in SECONDS)
        print(f"{case.key}: {said}, {took['rounds']} rounds", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
