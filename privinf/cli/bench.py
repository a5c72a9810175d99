"""The bench command: seconds, bytes, rounds and memory of chosen workloads, ours beside the peers installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.output import note, progress
from privinf.options import option

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def bench(
    workloads: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKLOAD]...", help="Names that --list shows.")
    ] = None,
    network: list[str] | None = option(
        None, "loopback, lan, wan or wan-far; +dealer also shapes the dealer's links; repeatable."
    ),
    system: list[str] | None = option(None, "privinf or another system; repeatable."),
    repeat: int | None = option(None, "Timed runs of each.", min=1),
    out: Path | None = option(None, "Write the result here.", flag="--json"),
    spu: Path | None = option(None, "Python of SPU's environment."),
    crypten: Path | None = option(None, "Python of CrypTen's environment."),
    show: bool = option(False, "Print what can be chosen, and exit.", flag="--list"),
) -> None:
    """Measure workloads with real processes on this machine; needs a checkout. By default, everything in make bench."""
    from privinf.errors import PrivinfError

    suite = _suite()
    if show:
        for kind, names in suite.names().items():
            typer.echo(f"{kind}: {', '.join(names)}")
        return
    jobs = suite.choose(workloads or [], network or [], system or [], repeat)
    given = {name: path for name, path in (("spu", spu), ("crypten", crypten)) if path is not None}
    with progress("measuring", sum(job.turns for job in jobs)) as tick:
        result = suite.run(jobs, suite.Environments(**given), tick)
    for left in result["skipped"]:
        note(f"not measured: {left['workload']}, {left['system']}, {left['network']}: {left['why']}")
    if out is not None:
        suite.save(out, result)
    _print(result["rows"])
    if failed := result["failed"]:
        names = ", ".join(f"{job['workload']} of {job['system']} on {job['network']}" for job in failed)
        raise PrivinfError(f"failed: {names}; the first said: {failed[0]['why']}")


def _suite() -> Any:
    """The benchmark's module, which no wheel holds."""
    from privinf.errors import ConfigError

    if not (CHECKOUT / "benchmarks" / "harness" / "suite.py").is_file():
        raise ConfigError("the benchmark is not installed with privinf: run it in a checkout of the sources")
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    return importlib.import_module("benchmarks.harness.suite")


def _print(rows: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "workload", "batch", "system", "network", "phase", "seconds", "spread", "MB", "rounds", "peak MB"
    )
    for row in rows:
        spread = f"{row.min_s:.2f}-{row.max_s:.2f}"
        sizes = [_megabytes(row.bytes), str(row.rounds or ""), _megabytes(row.peak_bytes)]
        names = (row.workload, str(row.batch or ""), row.system, row.network, row.phase)
        table.add_row(*names, f"{row.median_s:.3f}", spread, *sizes)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f}"
