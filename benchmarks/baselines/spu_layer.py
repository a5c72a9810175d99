"""Times a BERT encoder layer and its operators in SecretFlow SPU: a process per party, over SPU's own sockets."""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax  # type: ignore[import-not-found]
import numpy as np
import spu  # type: ignore[import-not-found]
import spu.utils.frontend as frontend  # type: ignore[import-not-found]
from bert_layer import GELUS, functions
from processes import free_ports, run_parties
from spu_party import read_shares, write_shares
from workloads import LAYER, WORKLOADS, BaselineError, Workload, row, show

sys.path.append(str(Path(__file__).resolve().parents[2]))  # SPU's environment does not know the project

from benchmarks.relay import PROFILES, Relays

PARTIES = {"aby3": 3, "semi2k": 2}
LEAVES_OUT = {
    "aby3": "nothing of the protocol, which has no preparation; compiling, sharing the inputs and TLS",
    "semi2k": "a real dealer, as party 0 makes the triples and knows every secret (making them is in the time); "
    "compiling, sharing the inputs and TLS",
}
FRACTION_BITS = 18
RUN_SECONDS = 180.0  # bound on one run of the layer, warm-up included
TRAFFIC = re.compile(r"total send bytes (\d+), recv bytes \d+, send actions (\d+)")


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


def connected(folder: Path, parties: int, network: str, repeat: int) -> None:
    """Runs fresh party processes; every party reaches every other through a link of its own."""
    own = [f"127.0.0.1:{port}" for port in free_ports(parties)]
    script, commands = str(Path(__file__).with_name("spu_party.py")), []
    with Relays(network) as relays:
        for rank in range(parties):
            known = [address if rank == peer else relays.to(address) for peer, address in enumerate(own)]
            options = ["--folder", str(folder), "--rank", str(rank), "--repeat", str(repeat)]
            commands.append([script, *options, "--addresses", *known])
        run_parties(folder, commands, RUN_SECONDS * (repeat + 1))


def read_traffic(folder: Path, parties: int) -> tuple[int, int]:
    """Bytes sent and send actions of the party with the most, in the profiled run, from SPU's own log."""
    found = [TRAFFIC.findall((folder / f"log{rank}").read_text(errors="replace")) for rank in range(parties)]
    if any(len(matches) != 1 for matches in found):
        raise BaselineError("SPU's log does not give its traffic exactly once")
    return max(int(matches[0][0]) for matches in found), max(int(matches[0][1]) for matches in found)


def measure(protocol: str, work: Workload, gelu: str, network: str, repeat: int) -> dict[str, Any]:
    """Compiles, shares, runs and checks a workload; returns its row."""
    parties, config = PARTIES[protocol], runtime_config(protocol)
    program, flat = compile_program(functions(gelu)[work.name], (work.x, work.weights))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        share_inputs(folder, program, flat, config, parties)
        connected(folder, parties, network, repeat)
        reports = [json.loads((folder / f"report{rank}").read_text()) for rank in range(parties)]
        outputs = [dict(read_shares(folder / f"outputs{rank}"))["out"] for rank in range(parties)]
        sent, actions = read_traffic(folder, parties)
    answer = spu.Io(parties, config).reconstruct(outputs)
    runs = zip(*(report["times"] for report in reports), strict=True)
    seconds = [round(max(wall for wall, _ in run), 4) for run in runs]
    note = f"; GELU: {gelu}" if work.name == LAYER or work.name.startswith("gelu") else ""
    return row(
        work.name,
        work.tokens,
        f"spu-{protocol}",
        seconds,
        network=network,
        bytes=sent,
        rounds=actions,
        peak_bytes=max(report["peak_bytes"] for report in reports),
        leaves_out=LEAVES_OUT[protocol] + note,
        max_abs_error=work.error(answer),
    )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=sorted(PARTIES), required=True)
    parser.add_argument("--workload", nargs="+", choices=list(WORKLOADS), default=[LAYER])
    parser.add_argument("--network", nargs="+", choices=list(PROFILES), default=["loopback"])
    parser.add_argument("--gelu", choices=sorted(GELUS), default="puma")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    return parser.parse_args()


def main() -> int:
    """Entry point: 0 when everything ran and every answer is right."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parties are ended too
    args = parse_arguments()
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # SPU logs to standard output, which is for the answer
    rows = []
    try:
        for name in args.workload:
            work = WORKLOADS[name]()
            rows += [measure(args.protocol, work, args.gelu, each, args.repeat) for each in args.network]
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 1
    show(rows, args.json, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
