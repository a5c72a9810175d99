"""One BERT-base layer, 128 tokens: ours over gRPC with TLS beside SPU over its own sockets, in turn, in one run."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import encoder_layer as layer
from benchmarks import machine
from privinf.config import ClientConfig, Tls
from privinf.keys import keygen
from privinf.local import SERVER_ENVIRONMENT
from privinf.models import bert
from privinf.models.clear import Clear, ClearQuery, Ranges
from privinf.models.plan import Plan, make_plan
from privinf.protocols import prg, ring
from privinf.transport import Link

HERE = Path(__file__).resolve().parent
PROTOCOLS = ("semi2k", "aby3")


def clear_layer() -> tuple[Plan, np.ndarray]:
    """The plan from the layer's own ranges, and its float32 answer."""
    ranges = Ranges({"embed.square": 0.5}, {"embed.square": 2.0, "embed.centred": 8.0, "pool.result": 8.0})
    ops = Clear(layer.layer_weights(), layer.SPEC.layer_norm_eps, ranges)
    tokens = layer.SHAPE.tokens
    real = torch.ones((1, tokens), dtype=torch.bool)
    query = ClearQuery(torch.zeros((1, tokens), dtype=torch.long), real, torch.ones((1, 1, tokens)))
    with torch.inference_mode(), ops.scope("layer0"):
        answer = bert.layer(ops, layer.SPEC, torch.as_tensor(layer.layer_input(), dtype=torch.float32), query)
    return make_plan(layer.SPEC, ranges, layer.SHAPE.tokens), answer.numpy()


@contextmanager
def servers(work: Path, plan: Plan) -> Iterator[tuple[str, str]]:
    """Dealer and parties as processes; yields both parties' addresses."""
    (work / "plan.json").write_text(plan.to_json())
    keygen(work / "keys")
    running: list[subprocess.Popen[str]] = []

    def launch(role: str, *addresses: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.encoder_layer", role, str(work), *addresses],
            stdout=subprocess.PIPE,
            stderr=(work / f"{role}.log").open("w"),
            text=True,
            cwd=HERE.parent,
            env=SERVER_ENVIRONMENT | os.environ,
        )
        running.append(process)
        assert process.stdout is not None
        return f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"

    try:
        dealer = launch("dealer")
        second = launch("party1", dealer)
        yield launch("party0", dealer, second), second
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def ours(link: Link, plan: Plan, expected: np.ndarray, repeat: int) -> list[dict[str, float]]:
    """Queries one after the other, each with a preparation made for it on demand."""
    rows, mask, result = layer.fields(plan)
    values = [ring.encode(layer.layer_input(), rows.scale, rows.bits), np.zeros(mask.shape, dtype=np.uint64)]
    out = []
    for _ in range(repeat):
        first = [prg.elements(prg.fresh_seed(), "share", f.shape, f.bits) for f in (rows, mask)]
        shares = (
            b"".join(ring.pack(a, f.bits) for a, f in zip(first, (rows, mask), strict=True)),
            b"".join(ring.pack(v - a, f.bits) for v, a, f in zip(values, first, (rows, mask), strict=True)),
        )
        left, right, stats = link.run(layer.SHAPE, shares)
        total = ring.unpack(left, result.bits, result.shape) + ring.unpack(right, result.bits, result.shape)
        error = float(np.abs(ring.decode(total, result.scale, result.bits) - expected).max())
        if error > 0.1:
            raise SystemExit(f"the answer is wrong by {error}")
        parties = stats.parties
        out.append(
            {
                "online_s": max(p.online_seconds for p in parties),
                "offline_s": max(p.offline_seconds for p in parties),
                "total_s": stats.seconds,
                "rounds": parties[0].rounds,
                "online_bytes": max(p.online_bytes for p in parties),
                "prep0_bytes": parties[0].preparation_bytes,
                "prep1_bytes": parties[1].preparation_bytes,
                "max_abs_error": error,
            }
        )
    return out


def spu(python: Path, protocol: str, gelu: str, repeat: int) -> dict[str, Any]:
    """SPU's figures for the same shape."""
    command = [str(python), str(HERE / "baselines" / "spu_layer.py"), "--protocol", protocol]
    command += ["--gelu", gelu, "--repeat", str(repeat), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main() -> None:
    """Alternate ours and SPU's, and write one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spu", type=Path, help="python of the environment that baselines/install.sh makes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "layer.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan, expected = clear_layer()
    mine: list[dict[str, float]] = []
    peers: dict[str, list[float]] = {}
    details: list[dict[str, Any]] = []
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory() as folder, servers(Path(folder), plan) as addresses:
            keys = Path(folder) / "keys"
            tls = Tls(keys / "ca.pem", keys / "client.pem", keys / "client.key")
            with Link(ClientConfig(addresses, tls=tls, deadline=300.0)) as link:
                ours(link, plan, expected, 1)
                mine += ours(link, plan, expected, options.repeat)
        for protocol in PROTOCOLS if options.spu else ():
            for gelu in ("puma", "tanh"):
                report = spu(options.spu, protocol, gelu, options.repeat)
                peers.setdefault(f"{protocol}/{gelu}", []).extend(report.pop("seconds"))
                details.append(report)
    document = report_of(mine, peers, details)
    machine.write(options.json, document)
    print(json.dumps({k: document[k] for k in ("ours", "spu_median_s", "ratios")}, indent=1))


def report_of(
    mine: list[dict[str, float]], peers: dict[str, list[float]], details: list[dict[str, Any]]
) -> dict[str, Any]:
    """Medians, extremes and ratios."""
    summary = {
        key: {
            "median": statistics.median(row[key] for row in mine),
            "min": min(row[key] for row in mine),
            "max": max(row[key] for row in mine),
        }
        for key in mine[0]
    }
    medians = {name: statistics.median(seconds) for name, seconds in peers.items()}
    ratios = {}
    if medians:
        fastest = min(medians.values())
        ratios = {
            "online": fastest / summary["online_s"]["median"],
            "dealer_included": fastest / summary["total_s"]["median"],
        }
    return {
        "workload": "BERT-base encoder layer, 128 tokens, batch 1",
        "ours": summary,
        "ours_setting": "gRPC with mutual TLS, three processes, preparation made on demand for each query",
        "spu_median_s": medians,
        "spu_seconds": peers,
        "spu": details,
        "ratios": ratios,
        **machine.about(),
    }


if __name__ == "__main__":
    main()
