"""Runs a JAX function in SecretFlow SPU: a process per party, over SPU's own sockets."""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax  # type: ignore[import-not-found]
import numpy as np
import spu  # type: ignore[import-not-found]
import spu.utils.frontend as frontend  # type: ignore[import-not-found]
from processes import free_ports, run_parties
from spu_party import read_shares, write_shares
from workloads import BaselineError, Workload, row, show

sys.path.append(str(Path(__file__).resolve().parents[2]))  # SPU's environment does not know the project

from benchmarks.harness.relay import PROFILES, Relays

PARTIES = {"aby3": 3, "semi2k": 2}
LEAVES_OUT = {
    "aby3": "nothing of the protocol, which has no preparation; compiling, sharing the inputs and TLS",
    "semi2k": "a real dealer, as party 0 makes the triples and knows every secret (making them is in the time); "
    "compiling, sharing the inputs and TLS",
}
FRACTION_BITS = 18
RUN_SECONDS = 180.0  # bound on one run of the function, warm-up included
TRAFFIC = re.compile(r"total send bytes (\d+), recv bytes \d+, send actions (\d+)")
Function = Callable[[Any, Any], Any]  # of a workload's input and weights


@dataclass(frozen=True)
class Ran:
    """What a function answered, and what its runs cost."""

    protocol: str
    network: str
    answer: Any
    seconds: list[float]
    traffic: list[tuple[int, int]]  # bytes and send actions of each counted run, of the party with the most
    peak_bytes: int

    def row(self, work: Workload, note: str) -> dict[str, Any]:
        """The row of a workload, its traffic that of the last counted run; BaselineError for a wrong answer."""
        sent, actions = self.traffic[-1]
        return row(
            work.name,
            work.tokens,
            f"spu-{self.protocol}",
            self.seconds,
            network=self.network,
            bytes=sent,
            rounds=actions,
            peak_bytes=self.peak_bytes,
            leaves_out=LEAVES_OUT[self.protocol] + note,
            max_abs_error=work.error(self.answer),
        )


def runtime_config(protocol: str) -> Any:
    """The settings that both protocols are measured under."""
    libspu = spu.libspu
    kind = {"aby3": libspu.ProtocolKind.ABY3, "semi2k": libspu.ProtocolKind.SEMI2K}[protocol]
    config = libspu.RuntimeConfig(protocol=kind, field=libspu.FieldType.FM64)
    config.fxp_fraction_bits = FRACTION_BITS
    config.fxp_exp_mode = libspu.RuntimeConfig.EXP_TAYLOR
    config.beaver_type = libspu.RuntimeConfig.TrustedFirstParty
    return config


def compile_program(function: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """Compiles a function with every input secret; returns the program and its inputs in order."""
    flat, _ = jax.tree_util.tree_flatten(inputs)
    options = spu.libspu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = True  # as PUMA: one reciprocal per softmax row
    names = [f"in{index}" for index in range(len(flat))]
    secret = [spu.libspu.Visibility.VIS_SECRET] * len(flat)
    program, _ = frontend.compile(
        frontend.Kind.JAX, function, list(inputs), {}, names, secret, lambda out: ["out"], copts=options
    )
    return program, flat


def share_inputs(folder: Path, program: Any, flat: list[Any], config: Any, parties: int) -> None:
    """Writes the program, the settings and each party's shares into the folder."""
    (folder / "program").write_bytes(program.SerializeToString())
    (folder / "config").write_bytes(config.SerializeToString())
    io = spu.Io(parties, config)
    shared = [io.make_shares(np.asarray(x), spu.libspu.Visibility.VIS_SECRET) for x in flat]
    for rank in range(parties):
        named = [(name, shares[rank]) for name, shares in zip(program.input_names, shared, strict=True)]
        write_shares(folder / f"inputs{rank}", named)


def connected(folder: Path, parties: int, network: str, options: list[str], seconds: float) -> None:
    """Runs fresh party processes; every party reaches every other through a link of its own."""
    own = [f"127.0.0.1:{port}" for port in free_ports(parties)]
    script, commands = str(Path(__file__).resolve().with_name("spu_party.py")), []
    with Relays(network) as relays:
        for rank in range(parties):
            known = [address if rank == peer else relays.to(address) for peer, address in enumerate(own)]
            where = ["--folder", str(folder), "--rank", str(rank), *options]
            commands.append([script, *where, "--addresses", *known])
        run_parties(folder, commands, seconds)


def read_traffic(folder: Path, parties: int, runs: int) -> list[tuple[int, int]]:
    """Bytes sent and send actions of the party with the most in each counted run, from SPU's own log."""
    found = [TRAFFIC.findall((folder / f"log{rank}").read_text(errors="replace")) for rank in range(parties)]
    if any(len(matches) != runs for matches in found):
        raise BaselineError("SPU's log does not give the traffic of each counted run")
    pairs = zip(*found, strict=True)
    return [(max(int(sent) for sent, _ in run), max(int(count) for _, count in run)) for run in pairs]


def run(
    protocol: str,
    function: Function,
    work: Workload,
    *,
    network: str = "loopback",
    repeat: int = 3,
    before: int = 0,
) -> Ran:
    """Compiles, shares and runs a function of a workload's input and weights.

    The runs that are timed, and the last that is counted, have `before` others before them: what a program
    keeps from one run to the next is there.
    """
    parties, config = PARTIES[protocol], runtime_config(protocol)
    program, flat = compile_program(function, (work.x, work.weights))
    options = ["--repeat", str(repeat), "--before", str(before)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        share_inputs(folder, program, flat, config, parties)
        connected(folder, parties, network, options, RUN_SECONDS * (repeat + 1 + 2 * before))
        reports = [json.loads((folder / f"report{rank}").read_text()) for rank in range(parties)]
        outputs = [dict(read_shares(folder / f"outputs{rank}"))["out"] for rank in range(parties)]
        traffic = read_traffic(folder, parties, before + 1)
    runs = zip(*(report["times"] for report in reports), strict=True)
    seconds = [round(max(wall for wall, _ in each), 4) for each in runs]
    answer = spu.Io(parties, config).reconstruct(outputs)
    peak = max(report["peak_bytes"] for report in reports)
    return Ran(protocol, network, answer, seconds, traffic, peak)


def arguments(description: str | None, gelus: Iterable[str]) -> argparse.ArgumentParser:
    """The command line, to which a script adds what it runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--protocol", choices=sorted(PARTIES), required=True)
    parser.add_argument("--network", nargs="+", choices=list(PROFILES), default=["loopback"])
    parser.add_argument("--gelu", choices=sorted(gelus), default="puma")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    return parser


def print_rows(measured: Callable[[], list[dict[str, Any]]], as_json: bool) -> int:
    """Measures and prints; returns 0 when everything ran and every answer is right."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parties are ended too
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # SPU logs to standard output, which is for the answer
    try:
        rows = measured()
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 1
    show(rows, as_json, out)
    return 0
