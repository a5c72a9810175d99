"""Where a preparation's seconds go, by role and stage: of the clock and of the processor, dealt on demand."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine, staged
from benchmarks.harness.deployment import Deployment, Head, of_model, of_workload
from benchmarks.harness.role import build
from benchmarks.workloads import made_up
from privinf.config import ClientConfig
from privinf.models.sharing import bundle
from privinf.sdk.decoding import Decoding
from privinf.sdk.options import GenerationOptions
from privinf.sdk.outcomes import Stats
from privinf.sdk.transport import Link

LAYER, PASS = "bert-base-layer-128", "smollm2-shaped pass"
ROLES = ("dealer", "party0", "party1")
DEADLINE = 600.0
PROMPT, PASSES = 16, 12
SETTLE = 0.3  # seconds after which nobody works at what was asked for any more
Look = Callable[[], dict[str, staged.Spent]]


def in_stages(head: Head, folder: Path) -> Head:
    """The same roles, timed; each has its socket in the folder."""

    def timed(role: str) -> list[str]:
        python, dash, module, *words = head(role)
        return [python, dash, staged.__name__, str(folder / f"{role}.sock"), module, *words]

    return timed


def looking(folder: Path) -> Look:
    """What asks every role."""
    return lambda: {role: staged.ask(str(folder / f"{role}.sock")) for role in ROLES}


@contextmanager
def linked(servers: Deployment, identity: Any = None) -> Iterator[Link]:
    """A client of servers."""
    with servers:
        config = ClientConfig(servers.addresses, tls=servers.tls(), deadline=DEADLINE)
        with Link(config, identity) as link:
            yield link


def spent(before: dict[str, staged.Spent], after: dict[str, staged.Spent]) -> dict[str, staged.Spent]:
    """What lies between two looks."""
    nothing = (0.0, 0.0)
    return {
        role: {
            stage: (took[0] - was[0], took[1] - was[1])
            for stage, took in after[role].items()
            for was in [before[role].get(stage, nothing)]
        }
        for role in after
    }


def layer(repeat: int, folder: Path) -> dict[str, Any]:
    """Queries for one BERT-base layer, each with a preparation made for it."""
    work, look = build(LAYER, folder), looking(folder)
    found, stats = [], list[Stats]()
    with linked(Deployment(in_stages(of_workload(LAYER, folder), folder), folder)) as link:
        for number in range(-2, repeat):  # two to warm up
            before = look()
            stats.append(link.run(work.shape, work.shares())[2])
            time.sleep(SETTLE)
            if number >= 0:
                found.append(spent(before, look()))
    return summary(found, stats[2:])


def decoder(repeat: int, folder: Path) -> dict[str, Any]:
    """Passes of a generation with SmolLM2's shape, back to back; the prompt's is left out."""
    shared = made_up.share(made_up.small_llama(30, 49152), folder, embeddings="public", max_tokens=256)
    facts, look = bundle.read_sessions(shared / "client"), looking(folder)
    prompt = np.random.default_rng(1).integers(1, 4096, PROMPT).tolist()
    decoding = Decoding(facts, [prompt], [GenerationOptions(max_new_tokens=repeat + 4)])
    looks, stats = list[dict[str, staged.Spent]](), list[Stats]()
    servers = Deployment(in_stages(of_model(shared), folder), folder)
    with linked(servers, facts.identity) as link, link.generate(decoding.shape) as generation:
        for (written,) in decoding.steps(generation.step):
            looks.append(look())
            stats.extend(written.stats)
    found = [spent(*pair) for pair in pairwise(looks[2:])]
    return summary(found[:repeat], stats[-repeat:])


def summary(found: Sequence[dict[str, staged.Spent]], stats: Sequence[Stats]) -> dict[str, Any]:
    """Medians of what was found: milliseconds by role and stage, and seconds of the whole."""
    roles = {role: _stages([one[role] for one in found]) for role in ROLES}
    phases: dict[str, Callable[[Stats], float]] = {
        "offline": lambda one: max(party.offline_seconds for party in one.parties),
        "prepare": lambda one: max(party.prepare_seconds for party in one.parties),
        "online": lambda one: max(party.online_seconds for party in one.parties),
        "total": lambda one: one.seconds,
    }
    seconds = {name: round(statistics.median(of(one) for one in stats), 4) for name, of in phases.items()}
    nbytes = [party.preparation_bytes for party in stats[-1].parties]
    return {"repeats": len(found), "seconds": seconds, "preparation_bytes": nbytes, "milliseconds": roles}


def _stages(found: Sequence[staged.Spent]) -> dict[str, dict[str, float]]:
    """Of one role: each stage, then what the process used beyond them."""

    def median(stage: str, which: int) -> float:
        return round(1000 * statistics.median(one.get(stage, (0.0, 0.0))[which] for one in found), 1)

    stages = sorted(set().union(*found) - {staged.PROCESS})
    out = {stage: {"wall": median(stage, 0), "cpu": median(stage, 1)} for stage in stages}
    whole = median(staged.PROCESS, 1)
    beyond = round(whole - sum(one["cpu"] for one in out.values()), 1)
    return out | {"beyond: gRPC, TLS, system": {"cpu": beyond}, "whole process": {"cpu": whole}}


WORKLOADS: dict[str, Callable[[int, Path], dict[str, Any]]] = {LAYER: layer, PASS: decoder}


def main() -> None:
    """Measure what the file of results does not hold under this label, and add it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.offline", description=__doc__)
    parser.add_argument("--label", default="now", help="what these figures are called: before, after")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--workload", choices=WORKLOADS, action="append")
    parser.add_argument("--resume", action="store_true", help="leave out what is there under this label")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "offline.json")
    given = parser.parse_args()
    known = json.loads(given.json.read_text("utf-8")) if given.json.exists() else {}
    runs = known.setdefault("runs", {})
    for name in given.workload or WORKLOADS:
        if given.resume and name in runs.get(given.label, {}):
            continue
        with tempfile.TemporaryDirectory(prefix="privinf-offline-") as folder:
            about = machine.about()
            runs.setdefault(given.label, {})[name] = WORKLOADS[name](given.repeat, Path(folder)) | about
        machine.write(given.json, {"title": "Where a preparation's seconds go", **known})
        print(json.dumps({name: runs[given.label][name]["seconds"]}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
