"""Says where and from what a figure was measured: machine, versions and commit, for every result's JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privinf.protocols import kernels
from privinf.versions import versions

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NOT_MEASURED = (":!benchmarks/results", ":!docs")
PACKAGES = ("privinf", "numpy", "torch", "transformers", "grpcio", "safetensors", "tokenizers")


def about() -> dict[str, Any]:
    """Everything that a reader needs to repeat a figure, and nothing that names a person or a host."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(PACKAGES),
        "commit": commit(),
    }


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, kernel path."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),  # other work on the machine makes seconds mean less
        "kernels": kernels.default().name,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> dict[str, Any]:
    """The commit measured, and whether files differed from it."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *NOT_MEASURED)
        return {"id": _git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"id": None, "changed": None}


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def result_file(name: str, network: str) -> Path:
    """Where a measurement keeps its result: the network is named unless it is loopback."""
    return RESULTS / f"{name}{'' if network == 'loopback' else f'-{network}'}.json"


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Save a result; directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
