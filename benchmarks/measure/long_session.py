"""One long generation: seconds, bytes and memory as the cache grows, and what is left when it is over."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.harness.generating import Decoder, served
from benchmarks.harness.pass_costs import PACES, READY, Pace, Pass
from benchmarks.workloads import made_up

EVERY = 16  # passes between two looks at the memory
REST = 3.0  # seconds; a party gives memory back a moment after the last generation is over
PROMPT = 16
QUANTITIES: dict[str, Callable[[Pass], float]] = {
    "seconds": lambda p: p.seconds,
    "online_seconds": lambda p: p.online_seconds,
    "prepare_seconds": lambda p: p.prepare_seconds,
    "online_bytes": lambda p: p.online_bytes,
    "preparation_bytes": lambda p: max(p.preparation_bytes),
    "rounds": lambda p: p.rounds,
}


def fits(passes: Sequence[Pass]) -> dict[str, dict[str, float]]:
    """Least squares of each quantity against the keys that a row attends to."""
    keys = np.array([p.keys for p in passes], dtype=np.float64)
    found = {}
    for name, of in QUANTITIES.items():
        values = np.array([of(p) for p in passes], dtype=np.float64)
        slope, constant = np.polyfit(keys, values, 1)
        rest, about = values - slope * keys - constant, values - values.mean()
        explained = 1.0 - float(rest @ rest) / float(about @ about) if about.any() else 1.0
        found[name] = {"per_key": float(slope), "at_zero": float(constant), "explained": explained}
    return found


def measure(shared: Path, tokens: int, pace: Pace, sessions: int) -> dict[str, Any]:
    """Sessions one after the other by the same processes; the figures are those of the first."""
    with served(shared) as decoder:
        prompt = _prompt(decoder)
        memory = [{"when": "start", **decoder.servers.resident()}]
        runs = []
        for number in range(sessions):
            runs.append(decoder.write(prompt, tokens, pace, every=EVERY))
            memory.append({"when": f"before close {number}", **runs[-1].before_close})
            memory.append({"when": f"after close {number}", **runs[-1].after_close})
            time.sleep(REST)
            memory.append({"when": f"at rest {number}", **decoder.servers.resident()})
            print(f"session {number}: {runs[-1].token_seconds:.2f} s a token", file=sys.stderr, flush=True)
        peaks = decoder.servers.peaks()
    ready = [p for p in runs[0].later if pace == "sustained" or p.offline_seconds < READY]
    return {
        "tokens": tokens,
        "pace": pace,
        "left_out": len(runs[0].later) - len(ready),
        "passes": [{"keys": p.keys, **{name: of(p) for name, of in QUANTITIES.items()}} for p in ready],
        "fits": fits(ready),
        "prompt_passes": [asdict(p) for p in runs[0].prompt],
        "token_seconds": [run.token_seconds for run in runs],
        "memory": memory,
        "memory_series": [list(run.series) for run in runs],
        "peak": peaks,
    }


def _prompt(decoder: Decoder) -> list[int]:
    vocab = decoder.bundle.spec.vocab
    return [int(x) for x in np.random.default_rng(9).integers(3, min(vocab, 1000), PROMPT)]


def main() -> None:
    """Write benchmarks/results/long-session.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.long_session", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--shared", type=Path, help="written by `privinf share`, for as many tokens")
    which.add_argument(
        "--made-up", action="store_true", help="a Llama with random weights, of SmolLM2's width"
    )
    parser.add_argument("--layers", type=int, default=4, help="of the one that is made up")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--pace", choices=PACES, default="online")
    parser.add_argument(
        "--sessions", type=int, default=2, help="one after the other, to see what memory stays"
    )
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "long-session.json")
    given = parser.parse_args()
    about = machine.about()
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder:
        form, shared = made_up.small_llama(given.layers), given.shared
        if shared is None:
            most = PROMPT + given.tokens + 8
            shared = made_up.share(form, Path(folder), embeddings="private", max_tokens=most)
        result = measure(shared, given.tokens, given.pace, given.sessions)
    name = form.name if given.shared is None else given.shared.name
    machine.write(given.json, {"benchmark": "long session", **about, "model": name, **result})
    for quantity, line in result["fits"].items():
        print(
            f"{quantity}: {line['at_zero']:.4g} + {line['per_key']:.4g} a key, {line['explained']:.3f} explained"
        )
    for row in result["memory"]:
        print(row["when"], {role: f"{size / 1e6:.0f} MB" for role, size in row.items() if role != "when"})


if __name__ == "__main__":
    main()
