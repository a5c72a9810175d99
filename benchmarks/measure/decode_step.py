"""One decode step of a decoder of GPT-2 small's shape, ours and SPU's in turn: seconds, rounds and bytes."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.generating import served
from benchmarks.harness.machine import ROOT
from benchmarks.harness.pass_costs import Pace, summary
from benchmarks.harness.peers import BASELINES, ENVIRONMENTS
from benchmarks.harness.rows import MeasureError
from benchmarks.workloads import made_up
from privinf.models.programs.passes import count
from privinf.models.sharing import bundle
from privinf.models.text.prompts import prompt_rows
from privinf.protocols.contract import SessionShape

FEW = 64  # a vocabulary whose head costs next to nothing
PATIENCE = 3600.0
PROTOCOLS = ("aby3", "semi2k")
COUNTED = (
    "a pass of one row through the SDK's link, by the client's clock from sending the shares to both shares of the "
    "logits: public embeddings looked up, all layers, final norm, head; the preparation is there, the dealer stopped"
)
LAYERS_ALONE = (
    f"the same with a vocabulary of {FEW}, so that head and answer cost next to nothing: all layers, the query's "
    "opening and the final norm; per layer it is this divided by the layers"
)
Result = dict[str, Any]


def declared(shared: Path, keys: int) -> Result:
    """Exact costs of the first pass behind `keys` slots, in all and of its parts."""
    about = bundle.read(shared / "client")
    shape = SessionShape("generate", keys, 1)
    passes = about.layout.passes(shape) + 1
    tally = count(about.layout, shape, passes)[-1].tally
    parts = {"all": tally.total(), **tally.top()}
    return {
        name or "query": {
            "rounds": cost.rounds,
            "online_bytes": cost.online,
            "preparation_bytes": [cost.prep0, cost.prep1],
        }
        for name, cost in parts.items()
    }


def ours(shared: Path, keys: int, tokens: int, network: str, pace: Pace) -> Result:
    """Passes of one row behind `keys` slots and a few more, by fresh processes."""
    if prompt_rows(keys) != keys:
        raise MeasureError(f"a prompt of {keys} tokens is padded: choose {prompt_rows(keys)} keys")
    prompt = [1 + i % 50 for i in range(keys)]
    with served(shared, network=network) as decoder:
        done = decoder.write(prompt, tokens + 2, pace)
        peaks = decoder.servers.peaks()
    later = done.later[1:]  # the first of a deployment warms caches up
    return {**summary(later, pace), "peak_bytes": peaks}


def spu(protocol: str, layers: int, keys: int, network: str, repeat: int) -> list[Result]:
    """Rows of SPU's decode step of the same shape; the new token is one of its keys."""
    python = ENVIRONMENTS / "spu" / "bin" / "python"
    command = [str(python), str(BASELINES / "spu_decode.py"), "--protocol", protocol, "--network", network]
    command += ["--workload", f"gpt2-small-decode-l{layers}-k{keys + 1}", "--repeat", str(repeat), "--json"]
    command += ["--gelu", "puma" if network.startswith("wan") else "tanh"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
    if done.returncode:
        raise MeasureError(f"SPU failed:\n{done.stderr[-2000:]}")
    rows: list[Result] = json.loads(done.stdout)
    return rows


def measure(given: argparse.Namespace, folder: Path) -> Result:
    """All turns: ours with both vocabularies, then SPU's protocols, on each network."""
    vocabularies = dict.fromkeys((given.vocab, FEW))
    shared = {
        vocab: made_up.share(
            made_up.gpt2_small(given.layers, vocab),
            folder / str(vocab),
            embeddings="public",
            max_tokens=given.keys + given.tokens + 8,
        )
        for vocab in vocabularies
    }
    rows = list[Result]()
    for turn in range(given.turns):
        for network in given.network:
            for vocab in vocabularies:
                row = ours(shared[vocab], given.keys, given.tokens, network, "online")
                rows.append({"system": "privinf", "network": network, "vocab": vocab, "turn": turn, **row})
                _say(f"ours, vocabulary {vocab}, {network}: {row['seconds']['median']:.3f} s")
            for protocol in given.spu:
                for row in spu(protocol, given.spu_layers or given.layers, given.keys, network, given.repeat):
                    rows.append({"turn": turn, **row})
                    _say(f"{row['system']}, {network}: {row['median_s']:.3f} s")
    return {
        "layers": given.layers,
        "spu_layers": given.spu_layers or given.layers,
        "cached_keys": given.keys,
        "counted": {"whole": COUNTED, "layers_alone": LAYERS_ALONE},
        "declared": {str(vocab): declared(where, given.keys) for vocab, where in shared.items()},
        "rows": rows,
        "per_layer": per_layer(rows, given.layers, given.spu_layers or given.layers),
    }


def per_layer(rows: Sequence[Result], layers: int, spu_layers: int) -> list[Result]:
    """Seconds of a layer for each network and system: the median of the turns' medians, divided by the layers."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["system"] != "privinf":
            groups.setdefault((row["network"], row["system"]), []).append(row["median_s"] / spu_layers)
        elif row["vocab"] == FEW:
            groups.setdefault((row["network"], "privinf"), []).append(row["seconds"]["median"] / layers)
    return [
        {"network": network, "system": system, "seconds": statistics.median(found)}
        for (network, system), found in groups.items()
    ]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Write benchmarks/results/decode-step.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.decode_step", description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--vocab", type=int, default=50257)
    parser.add_argument("--keys", type=int, default=128, help="in the cache before the measured tokens")
    parser.add_argument("--tokens", type=int, default=5, help="passes of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--network", nargs="+", default=["loopback", "wan"])
    parser.add_argument(
        "--spu", nargs="*", choices=PROTOCOLS, default=[], help="SPU's protocols to run in turn"
    )
    parser.add_argument("--spu-layers", type=int, help="if SPU is to run fewer layers")
    parser.add_argument("--repeat", type=int, default=3, help="SPU's timed runs of each turn")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "decode-step.json")
    given = parser.parse_args()
    about = machine.about()
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder:
        result = measure(given, Path(folder))
    machine.write(given.json, {"benchmark": "decode step", **about, **result})
    for row in result["per_layer"]:
        print(f"{row['network']}, {row['system']}: {row['seconds']:.3f} s a layer")


if __name__ == "__main__":
    main()
