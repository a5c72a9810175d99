"""Training runs of an experiment, side by side on one thread each; each keeps its result: a stopped one goes on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run
from typing import Any

from benchmarks.harness.rows import MeasureError

RESULT = "outcome.json"


@dataclass(frozen=True)
class Run:
    """One run by its name, and the runs that it needs."""

    name: str
    needs: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


def done(folder: Path, name: str) -> dict[str, Any] | None:
    """What a run came to, if it is over."""
    path = folder / name / RESULT
    found: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
    return found


def keep(folder: Path, name: str, outcome: Mapping[str, Any]) -> None:
    """Write it when the run is over, and not before."""
    path = folder / name / RESULT
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(outcome, indent=1), "utf-8")
    scratch.replace(path)


def perform(module: str, folder: Path, runs: Sequence[Run], processes: int, options: Sequence[str]) -> None:
    """Run `python -m module --work FOLDER --run NAME` for all that are not over, those that others need first."""
    left = [made for made in runs if done(folder, made.name) is None]
    while left:
        names = {made.name for made in left}
        ready = [made for made in left if not names.intersection(made.needs)]
        if not ready:
            raise MeasureError(f"runs need each other: {', '.join(sorted(names))}")
        with ThreadPoolExecutor(processes) as pool:
            started = [pool.submit(_one, module, folder, made.name, options) for made in ready]
            for future in as_completed(started):
                future.result()
        left = [made for made in left if made not in ready]


def _one(module: str, folder: Path, name: str, options: Sequence[str]) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", module, "--work", str(folder), "--run", name, *options]
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / name / "log").open("ab") as log:
        if run(command, stdout=log, stderr=log, check=False).returncode:
            raise MeasureError(f"{name} failed: see {folder / name / 'log'}")
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def timed(work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """An outcome with the seconds of a core that this process spent on it, this time."""
    began = time.process_time()
    made = dict(work())
    return made | {"core_seconds": round(time.process_time() - began, 1)}
