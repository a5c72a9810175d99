"""Runs ours and the peers in turn and gathers their rows: what `make bench` and `privinf bench` call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import machine, ours, peers, rows
from benchmarks.harness.deployment import split_network
from benchmarks.harness.peers import Environments
from benchmarks.harness.rows import NETWORKS, SYSTEMS, Row
from benchmarks.workloads import encoders, gates
from benchmarks.workloads.encoder_layer import Size
from privinf.errors import ConfigError, PrivinfError

LAYER, WHOLE = "bert-base-layer-128", "bert-base-128"
OURS, ENCRYPTED, IN_CLEAR = SYSTEMS[:2], SYSTEMS[:4], SYSTEMS[-1]
MODEL = re.compile(rf"({'|'.join(peers.MODELS)})-(\d+)(?:x(\d+))?")
SINGLE = re.compile(rf"({'|'.join(peers.MODELS)})-(\d+)")
TITLE = "Private inference, ours and its peers"
NOTE = (
    "every system on one machine, its parties sharing the cores; ours with a preparation made on demand for each query "
    "unless the workload says sustained; peers in turn with ours"
)
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """One workload of one system on one network; `turns` times over, each with `repeat` timed runs."""

    workload: str
    system: str
    network: str = "loopback"
    repeat: int = 3
    turns: int = 1

    def why_not(self, environments: Environments) -> str | None:
        """Why this cannot be measured, or None."""
        if self.system in OURS:
            return None
        if self.workload.endswith(ours.SUSTAINED):
            return "a peer keeps no preparations"
        if self.workload == gates.OPENINGS:
            return "a peer has no such opening"
        clear = self.system == IN_CLEAR and (SINGLE.fullmatch(self.workload) or self.workload == WHOLE)
        if self.workload != LAYER and self.workload not in gates.NAMES and not clear:
            return "this system runs the layer and the gates"
        if split_network(self.network)[1]:
            return "a peer has no dealer"
        return environments.why_not(self.system, self.network)

    def gave(self, row: Row) -> bool:
        """Whether a row may be of this job: a later turn that failed takes the earlier ones with it."""
        return (row.workload, row.system, row.network) == (self.workload, self.system, self.network)

    def run(self, environments: Environments) -> list[Row]:
        """The rows of one turn."""
        if self.system not in OURS:
            return peers.measure(
                environments, self.system, self.workload, network=self.network, repeat=self.repeat
            )
        how: dict[str, Any] = {"network": self.network, "tls": self.system == OURS[0]}
        if self.workload.endswith(ours.SUSTAINED):
            return ours.sustained(self.workload.removesuffix(ours.SUSTAINED), **how)
        if found := MODEL.fullmatch(self.workload):
            name, tokens, batch = found[1], int(found[2]), int(found[3] or 1)
            return encoders.measure(name, tokens, batch=batch, repeat=self.repeat, **how)
        return ours.measure(self.workload, repeat=self.repeat, **how)


def default_jobs() -> list[Job]:
    """What `make bench` runs: under 25 minutes on two cores, peers included."""
    jobs = [Job(LAYER, system, turns=2) for system in SYSTEMS]
    jobs.append(Job(LAYER + ours.SUSTAINED, "privinf"))
    jobs += [
        Job(name, s) for name, s in product(gates.NAMES, (OURS[0], *SYSTEMS[2:])) if name != gates.OPENINGS
    ]
    jobs += [Job(gates.OPENINGS, "privinf"), Job(WHOLE, "privinf", repeat=2), Job(WHOLE, IN_CLEAR)]
    for network, repeat in (("lan", 3), ("wan", 3), ("wan-far", 2)):
        jobs += [Job(LAYER, system, network, repeat) for system in ENCRYPTED]
        jobs.append(Job(LAYER, "privinf", network + rows.DEALER_TOO, repeat))
    texts = ("minilm-32", "minilm-32x8", "minilm-32x32", "minilm-128", "mpnet-32", "mpnet-128")
    jobs += [Job(name, "privinf", repeat=2) for name in texts]
    return jobs + [Job(name, IN_CLEAR) for name in texts if SINGLE.fullmatch(name)]


def choose(
    workloads: Sequence[str], networks: Sequence[str], systems: Sequence[str], repeat: int | None
) -> list[Job]:
    """The default, or every combination of what is chosen; ConfigError for a name that is unknown."""
    if not (workloads or networks or systems):
        return [replace(job, repeat=repeat or job.repeat) for job in default_jobs()]
    for name in workloads:
        known(name)
    for name in networks:
        split_network(name)
    if unknown := sorted(set(systems) - set(SYSTEMS)):
        raise ConfigError(f"no system {unknown[0]!r}; known are {', '.join(SYSTEMS)}")
    every = product(networks or ["loopback"], workloads or [LAYER], systems or SYSTEMS)
    return [Job(workload, system, network, repeat or 3) for network, workload, system in every]


def known(workload: str) -> None:
    """Raise ConfigError for a workload that no system runs."""
    plain = workload.removesuffix(ours.SUSTAINED)
    if plain not in gates.NAMES and not MODEL.fullmatch(plain):
        Size.of(plain)


def names() -> dict[str, list[str]]:
    """What can be chosen; T, W, L and B stand for numbers."""
    patterns = ["bert-base-layer-T", "bert-base-T", "layers-L-wW-tT-bB", "minilm-T", "minilm-TxB", "mpnet-T"]
    return {
        "workloads": [LAYER, LAYER + ours.SUSTAINED, *gates.NAMES, *patterns],
        "networks": [*NETWORKS, *(name + rows.DEALER_TOO for name in NETWORKS[1:])],
        "systems": list(SYSTEMS),
    }


def in_turn(jobs: Sequence[Job]) -> Iterator[Job]:
    """Every job's first turn, then every second one."""
    for turn in range(max((job.turns for job in jobs), default=0)):
        yield from (job for job in jobs if job.turns > turn)


def run(jobs: Sequence[Job], environments: Environments, tick: Tick = lambda done: None) -> dict[str, Any]:
    """A result: rows of what ran, why the rest did not, and what failed; a failure does not end the others."""
    torch.set_num_threads(1)
    about, found = machine.about(), list[Row]()
    skipped: dict[Job, str] = {}
    failed: dict[Job, str] = {}
    for job in in_turn(jobs):
        why = job.why_not(environments)
        if why is not None:
            skipped[job] = why
        elif job not in failed:
            try:
                found += job.run(environments)
            except PrivinfError as error:
                failed[job] = f"{type(error).__name__}: {error}"
        tick(1)
    merged = [row for row in rows.merged(found) if not any(job.gave(row) for job in failed)]
    said = {"skipped": _said(skipped), "failed": _said(failed)}
    return {"title": TITLE, "workload_note": NOTE, "rows": merged, **said, **about}


def _said(jobs: dict[Job, str]) -> list[dict[str, str]]:
    return [
        {"workload": job.workload, "system": job.system, "network": job.network, "why": why}
        for job, why in jobs.items()
    ]


def save(path: Path, result: dict[str, Any]) -> None:
    """Write a result."""
    about = {key: value for key, value in result.items() if key not in ("title", "workload_note", "rows")}
    rows.write(path, result["title"], result["workload_note"], result["rows"], about)
