"""Times one BERT encoder layer in SecretFlow SPU, a process per party, over SPU's sockets on loopback."""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax  # type: ignore[import-not-found]
import numpy as np
import spu  # type: ignore[import-not-found]
import spu.utils.frontend as frontend  # type: ignore[import-not-found]
from bert_layer import GELUS, FloatArray, Shape, Weights, make_inputs, make_layer, reference
from spu_party import read_shares, write_shares

PARTIES = {"aby3": 3, "semi2k": 2}
LEAVES_OUT = {
    "aby3": "nothing of the protocol: it has no preparation (compiling and sharing inputs are not timed)",
    "semi2k": "a real dealer: party 0 makes the triples and knows every secret "
    "(making them is in the time; compiling and sharing inputs are not)",
}
FRACTION_BITS = 18
MAX_ERROR = 0.1  # measured 0.028, mostly PUMA's GELU and the Taylor exp; a wrong layer is off by more than 1
RUN_SECONDS = 120.0  # bound on one run of the layer, warm-up included
TRAFFIC = re.compile(r"total send bytes (\d+), recv bytes \d+, send actions (\d+)")


class BaselineError(Exception):
    """The baseline did not run to its end, or its answer is wrong."""


def runtime_config(protocol: str) -> Any:
    """The settings that both protocols are measured under."""
    libspu = spu.libspu
    kind = {"aby3": libspu.ProtocolKind.ABY3, "semi2k": libspu.ProtocolKind.SEMI2K}[protocol]
    config = libspu.RuntimeConfig(protocol=kind, field=libspu.FieldType.FM64)
    config.fxp_fraction_bits = FRACTION_BITS
    config.fxp_exp_mode = libspu.RuntimeConfig.EXP_TAYLOR
    config.beaver_type = libspu.RuntimeConfig.TrustedFirstParty
    return config


def compile_layer(layer: Callable[..., Any], inputs: tuple[FloatArray, Weights]) -> tuple[Any, list[Any]]:
    """Compiles the layer with every input secret; returns the program and its inputs in order."""
    flat, _ = jax.tree_util.tree_flatten(inputs)
    options = spu.libspu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = True  # as PUMA: one reciprocal per softmax row
    names = [f"in{index}" for index in range(len(flat))]
    secret = [spu.libspu.Visibility.VIS_SECRET] * len(flat)
    program, _ = frontend.compile(
        frontend.Kind.JAX, layer, list(inputs), {}, names, secret, lambda out: ["out"], copts=options
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


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all held at once so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def run_parties(folder: Path, parties: int, repeat: int) -> None:
    """Starts fresh party processes and waits for all; none outlives this call."""
    ports = [str(port) for port in free_ports(parties)]
    script = str(Path(__file__).with_name("spu_party.py"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(parties):
            command = [sys.executable, script, "--folder", str(folder), "--rank", str(rank)]
            command += ["--repeat", str(repeat), "--ports", *ports]
            with (folder / f"log{rank}").open("wb") as log:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
            processes.append(process)
        _wait_for_all(folder, processes, time.monotonic() + RUN_SECONDS * (repeat + 1))
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _wait_for_all(folder: Path, processes: list[subprocess.Popen[bytes]], deadline: float) -> None:
    codes: list[int | None] = [None]
    while None in codes and not any(codes):
        if time.monotonic() > deadline:
            raise BaselineError("parties did not finish in time")
        time.sleep(0.1)
        codes = [process.poll() for process in processes]
    for rank, code in enumerate(codes):
        if code:
            tail = (folder / f"log{rank}").read_text(errors="replace")[-2000:]
            raise BaselineError(f"party {rank} ended with status {code}:\n{tail}")


def read_traffic(folder: Path, parties: int) -> tuple[list[int], list[int]]:
    """Bytes sent and send actions of each party in the profiled run, from SPU's own log."""
    found = [TRAFFIC.findall((folder / f"log{rank}").read_text(errors="replace")) for rank in range(parties)]
    if any(len(matches) != 1 for matches in found):
        raise BaselineError("SPU's log does not give its traffic exactly once")
    return [int(matches[0][0]) for matches in found], [int(matches[0][1]) for matches in found]


def measure(protocol: str, shape: Shape, gelu: str, repeat: int) -> dict[str, Any]:
    """Compiles, shares, runs and checks the layer; returns the report."""
    parties, config, inputs = PARTIES[protocol], runtime_config(protocol), make_inputs(shape)
    program, flat = compile_layer(make_layer(shape, GELUS[gelu]), inputs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        share_inputs(folder, program, flat, config, parties)
        run_parties(folder, parties, repeat)
        times = [json.loads((folder / f"report{rank}").read_text()) for rank in range(parties)]
        outputs = [dict(read_shares(folder / f"outputs{rank}"))["out"] for rank in range(parties)]
        sent, actions = read_traffic(folder, parties)
    answer = spu.Io(parties, config).reconstruct(outputs)
    error = float(np.abs(answer - reference(*inputs, shape.heads)).max())
    runs = list(zip(*times, strict=True))
    seconds = [round(max(wall for wall, _ in run), 3) for run in runs]
    return {
        "system": "SecretFlow SPU",
        "version": spu.__version__,
        "protocol": protocol,
        "parties": parties,
        **vars(shape),
        "gelu": gelu,
        "fraction_bits": FRACTION_BITS,
        "seconds": seconds,
        "median_s": round(statistics.median(seconds), 3),
        "cpu_seconds": [round(sum(cpu for _, cpu in run), 3) for run in runs],
        "bytes_per_party": sent,
        "send_actions": actions,
        "max_abs_error": error,
        "leaves_out": LEAVES_OUT[protocol],
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=sorted(PARTIES), required=True)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--ffn", type=int, default=3072)
    parser.add_argument("--gelu", choices=sorted(GELUS), default="puma")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of one line")
    return parser.parse_args()


def main() -> int:
    """Entry point: 0 when the layer ran and its answer is right."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parties are ended too
    args = parse_arguments()
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # SPU logs to standard output, which is for the answer
    shape = Shape(args.tokens, args.width, args.heads, args.ffn)
    try:
        report = measure(args.protocol, shape, args.gelu, args.repeat)
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report), file=answer)
    else:
        line = "{system} {version} {protocol}: {median_s:.2f} s, error {max_abs_error:.4f}"
        print(line.format(**report), file=answer)
    answer.flush()
    if not report["max_abs_error"] <= MAX_ERROR:
        print(f"wrong answer: error {report['max_abs_error']}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
