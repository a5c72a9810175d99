"""Measures the peers' decode step and writes decode-peers.json: a token through one layer, through two, and the gap."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, suite
from benchmarks.harness.peers import BASELINES, Environments
from benchmarks.harness.rows import NETWORKS, Row, find
from benchmarks.harness.suite import Job

SYSTEMS = ("spu-aby3", "spu-semi2k")
KEYS = 129  # 128 in the cache, and the new token's own
TITLE = "One decode step, the peers"
NOTE = (
    "one new token through GPT-2-small-shaped layers, 12 heads of 64, 128 keys in the cache; weights, cache and token "
    "shared; a token that is not the first; without the output head; the parties share the cores"
)


def workload(layers: int, keys: int = KEYS) -> str:
    """The name of so many layers with so many keys, the new token's among them."""
    return f"gpt2-small-decode-l{layers}-k{keys}"


class DecodeEnvironments(Environments):
    """Those of the encoder layer, running the decode step instead: `peers.measure` takes them as well."""

    def command(self, system: str) -> list[str]:
        python, script, *options = super().command(system)
        return [python, str(BASELINES / script.replace("_layer.py", "_decode.py")), *options]


@dataclass(frozen=True)
class DecodeJob(Job):
    """A decode step of one peer on one network."""

    def why_not(self, environments: Environments) -> str | None:
        return environments.why_not(self.system, self.network)


def measure(environments: Environments, jobs: Sequence[DecodeJob]) -> dict[str, Any]:
    """A result as the suite gives it, with SPU's version and the costs of a layer."""
    result = suite.run(jobs, environments)
    versions = result["versions"] | spu_version(environments.spu)
    about = {"title": TITLE, "workload_note": NOTE, "versions": versions}
    return result | about | {"per_layer": per_layer(result["rows"])}


def per_layer(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Seconds, bytes and rounds of one layer run alone, and of a second one beside it in the same program."""
    out = []
    for one in rows:
        both = find(rows, workload=workload(2), system=one.system, network=one.network)
        if one.workload != workload(1) or both is None:
            continue
        costs = {"seconds": "median_s", "bytes": "bytes", "rounds": "rounds"}
        alone = {name: getattr(one, field) for name, field in costs.items()}
        second = {name: getattr(both, field) - alone[name] for name, field in costs.items()}
        out.append({"system": one.system, "network": one.network, "alone": alone, "second": second})
    return out


def spu_version(python: Path) -> dict[str, str]:
    """The version in the peer's environment, if it is there."""
    sites = [str(site) for site in python.parent.parent.glob("lib/python*/site-packages")]
    return {found.name: found.version for found in metadata.distributions(name="spu", path=sites)}


def main() -> int:
    """Entry point: 0 when nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines.decode_peers", description=__doc__)
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=["loopback", "wan"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "decode-peers.json")
    given = parser.parse_args()
    each = [(network, system, layers) for network in given.network for system in SYSTEMS for layers in (1, 2)]
    jobs = [DecodeJob(workload(layers), system, network, given.repeat) for network, system, layers in each]
    result = measure(DecodeEnvironments(), [replace(job, turns=given.turns) for job in jobs])
    suite.save(given.json, result)
    for row in result["rows"]:
        print(
            f"{row.system}, {row.network}, {row.workload}: {row.median_s:.3f} s, error {row.max_abs_error:.2g}"
        )
    for missing in (*result["skipped"], *result["failed"]):
        print(
            f"{missing['system']}, {missing['network']}, {missing['workload']}: {missing['why']}",
            file=sys.stderr,
        )
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
