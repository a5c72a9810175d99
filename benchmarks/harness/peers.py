"""Measures the peers on the same workloads: SPU and CrypTen in environments of their own, float32 PyTorch in ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.machine import ROOT
from benchmarks.harness.rows import MeasureError, Row, parse
from privinf.formats.fetch import fetch

BASELINES = ROOT / "benchmarks" / "baselines"
ENVIRONMENTS = ROOT / "benchmarks" / ".peers"
MODELS = ("minilm", "mpnet")
PATIENCE = 1800.0  # seconds for one workload with all its repetitions


@dataclass(frozen=True)
class Environments:
    """The pythons of the peers' environments; `make peers` makes them where they are looked for."""

    spu: Path = ENVIRONMENTS / "spu" / "bin" / "python"
    crypten: Path = ENVIRONMENTS / "crypten" / "bin" / "python"

    def command(self, system: str) -> list[str]:
        """What runs a system's script."""
        name, _, protocol = system.partition("-")
        if name == "spu":
            return [str(self.spu), str(BASELINES / "spu_layer.py"), "--protocol", protocol]
        if name == "crypten":
            return [str(self.crypten), str(BASELINES / "crypten_layer.py")]
        return [sys.executable, str(BASELINES / "torch_clear.py")]

    def why_not(self, system: str, network: str) -> str | None:
        """Why a system cannot be measured here, or None."""
        python, script = (Path(word) for word in self.command(system)[:2])
        if not python.exists():
            return f"{python} is absent: make peers"
        if not script.exists():
            return f"{script.name} is absent"
        if network != "loopback" and not system.startswith("spu"):
            return "this system is measured on loopback alone"
        return None


def measure(
    environments: Environments, system: str, workload: str, *, network: str = "loopback", repeat: int = 3
) -> list[Row]:
    """Rows of one peer's workload; MeasureError if it fails or says something else."""
    command = [*environments.command(system), *_what(workload), "--repeat", str(repeat), "--json"]
    if system.startswith("spu"):
        # On loopback the tanh form was quicker in every run; on a slow link the form that sends less is.
        command += ["--network", network, "--gelu", "puma" if network.startswith("wan") else "tanh"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
            cwd=ROOT,
            env=_environment(),
        )
        rows = [parse(raw) for raw in json.loads(done.stdout)]
    except subprocess.CalledProcessError as error:
        raise MeasureError(f"{system} failed on {workload}:\n{error.stderr[-2000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"{system} took longer than {PATIENCE:.0f} s on {workload}") from error
    except (ValueError, TypeError) as error:
        raise MeasureError(f"{system} printed no list of rows for {workload}") from error
    if not rows or any((row.system, row.workload) != (system, workload) for row in rows):
        raise MeasureError(f"{system} printed rows of something else than {workload}")
    return rows


def _what(workload: str) -> list[str]:
    """How the scripts are told of a workload; a model is a directory and a number of tokens."""
    name, _, tokens = workload.partition("-")
    if name not in MODELS:
        return ["--workload", workload]
    return ["--workload", "--model", f"{name}={fetch(name)}", "--tokens", tokens]


def _environment() -> dict[str, str]:
    """Ours, without what would lead another environment to our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
