"""Times a BERT encoder layer and its operators in CrypTen: two processes over gloo on loopback."""

import argparse
import json
import os
import signal
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from processes import free_ports, run_parties
from workloads import LAYER, WORKLOADS, BaselineError, Workload, row, show

PARTIES = 2
LEAVES_OUT = (
    "a real dealer, as party 0 draws the triples and knows every secret (drawing them is in the time); "
    "sharing the inputs and TLS"
)
GELU = "; GELU: two comparisons and a polynomial, as CrypTen's erf is wrong beyond |x| = 1"
NOTES = {LAYER: GELU, "gelu-128x3072": GELU}
RUN_SECONDS = 180.0  # bound on one run of the layer, warm-up included


def environment(rank: int, port: int) -> dict[str, str]:
    """What CrypTen reads at its start."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(PARTIES),
        "RENDEZVOUS": f"tcp://127.0.0.1:{port}",
        "DISTRIBUTED_BACKEND": "gloo",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def measure(work: Workload, repeat: int) -> dict[str, Any]:
    """Runs and checks a workload; returns its row."""
    (port,), script = free_ports(1), str(Path(__file__).with_name("crypten_party.py"))
    threads = max(1, len(os.sched_getaffinity(0)) // PARTIES)
    with tempfile.TemporaryDirectory() as name:
        folder, commands = Path(name), []
        for rank in range(PARTIES):
            options = ["--folder", name, "--rank", str(rank), "--threads", str(threads)]
            commands.append([script, *options, "--repeat", str(repeat), "--workload", work.name])
        run_parties(folder, commands, RUN_SECONDS * (repeat + 1), lambda rank: environment(rank, port))
        reports = [json.loads((folder / f"report{rank}").read_text()) for rank in range(PARTIES)]
        answer = np.load(folder / "answer0.npy", allow_pickle=False)
    seconds = [round(max(run), 4) for run in zip(*(report["times"] for report in reports), strict=True)]
    return row(
        work.name,
        work.tokens,
        "crypten",
        seconds,
        bytes=max(report["bytes"] for report in reports) // 2,  # its counter adds what is received
        rounds=max(report["rounds"] for report in reports),
        peak_bytes=max(report["peak_bytes"] for report in reports),
        leaves_out=LEAVES_OUT + NOTES.get(work.name, ""),
        max_abs_error=work.error(answer),
    )


def main() -> int:
    """Entry point: 0 when everything ran and every answer is right."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parties are ended too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", nargs="+", choices=list(WORKLOADS), default=[LAYER])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    args = parser.parse_args()
    print("CrypTen", metadata.version("crypten"), file=sys.stderr)
    try:
        rows = [measure(WORKLOADS[name](), args.repeat) for name in args.workload]
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 1
    show(rows, args.json, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
