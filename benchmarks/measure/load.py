"""One client against many with certificates of their own: throughput, refusals, fairness, memory of each server."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.site import TEXTS, Site
from privinf.errors import PrivinfError
from privinf.sdk.client import Client

CLIENTS, SECONDS = 32, 120.0
DEADLINE = 120.0
LOOK = 1.0  # seconds between two looks at the memory
RATIO = 0.95  # of one client's throughput
FAIR = 0.5  # of the median: what the slowest client has at least
FLAT = 32 << 20  # bytes that a server may grow by from the middle of a phase to its end


@dataclass
class One:
    """What one client got."""

    answers: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)

    def ask(self, site: Site, client: Client, text: int) -> None:
        """Ask once."""
        began = time.monotonic()
        try:
            vectors = client.embed([TEXTS[text]], timeout=DEADLINE).vectors
        except PrivinfError as error:
            self.failed[type(error).__name__] += 1
            time.sleep(0.01)
            return
        self.waits.append(time.monotonic() - began)
        self.answers += 1
        self.wrong += not site.right(text, vectors)


def phase(site: Site, count: int, seconds: float) -> dict[str, Any]:
    """Have so many clients ask without a pause, each as soon as it is answered."""
    ones, over, memory = [One() for _ in range(count)], threading.Event(), list[dict[str, int]]()

    def run(number: int) -> None:
        with site.client(number) as client:
            ready.wait()
            text = number
            while not over.is_set():
                ones[number].ask(site, client, text % len(TEXTS))
                text += 1

    ready = threading.Barrier(count + 1)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        memory.append({role: server.resident() for role, server in site.servers.items()})
        time.sleep(min(LOOK, seconds / 8))
    answered = [one.answers for one in ones]  # those that end later are not counted
    took = time.monotonic() - began
    over.set()
    for thread in threads:
        thread.join()
    return _found(ones, answered, took, memory)


def _found(
    ones: Sequence[One], answered: Sequence[int], took: float, memory: list[dict[str, int]]
) -> dict[str, Any]:
    waits = sorted(wait for one in ones for wait in one.waits)
    half = len(memory) // 2
    return {
        "clients": len(ones),
        "seconds": round(took, 3),
        "answers": sum(answered),
        "a_second": round(sum(answered) / took, 4),
        "wrong": sum(one.wrong for one in ones),
        "failed": dict(sum((one.failed for one in ones), Counter[str]())),
        "each": list(answered),
        "fairness": round(min(answered) / max(1e-9, statistics.median(answered)), 3),
        "median_wait": round(statistics.median(waits), 3) if waits else None,
        "longest_wait": round(waits[-1], 3) if waits else None,
        "grown": {role: memory[-1][role] - memory[half][role] for role in memory[0]},
        "memory": memory[:: max(1, len(memory) // 60)],
    }


def campaign(site: Site, clients: int, seconds: float) -> dict[str, Any]:
    """One client before and after many, so that a machine that slows down is seen."""
    for number in range(2):  # not counted: the first queries fill caches
        with site.client(number) as client:
            client.embed(list(TEXTS))
    phases = []
    for count, part in ((1, 0.5), (clients, 1.0), (1, 0.5)):
        phases.append(phase(site, count, part * seconds))
        print({k: v for k, v in phases[-1].items() if k != "memory"}, file=sys.stderr, flush=True)
    alone = sum(phases[i]["answers"] for i in (0, 2)) / sum(phases[i]["seconds"] for i in (0, 2))
    return {"ratio": round(phases[1]["a_second"] / alone, 4) if alone else 0.0, "phases": phases}


def failures(found: dict[str, Any]) -> list[str]:
    """Say which bars are not met."""
    many = found["phases"][1]
    missed = {
        f"throughput is {found['ratio']:.2f} of one client's": found["ratio"] < RATIO,
        f"failed: {many['failed']}": bool(many["failed"]),
        f"{many['wrong']} answers are wrong": bool(many["wrong"]),
        f"the slowest client has {many['fairness']:.2f} of the median": many["fairness"] < FAIR,
        f"memory grows: {many['grown']}": max(many["grown"].values()) > FLAT,
    }
    return [what for what, holds in missed.items() if holds]


def main() -> int:
    """Write benchmarks/results/load.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.load", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that many clients ask, and one")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "load.json")
    given = parser.parse_args()
    about = machine.about()
    with (
        tempfile.TemporaryDirectory(prefix="privinf-load-") as folder,
        Site(Path(folder), given.clients) as site,
    ):
        found = campaign(site, given.clients, given.seconds)
    missed = failures(found)
    machine.write(given.json, {"benchmark": "load", **about, **found, "missed": missed})
    print("; ".join(missed) or f"all met: throughput is {found['ratio']:.2f} of one client's")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
