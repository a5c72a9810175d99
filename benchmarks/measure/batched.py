"""Tokens a second of several prompts that advance together, for a real decoder over three server processes with TLS."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.generating import DEADLINE, Decoder, served
from benchmarks.harness.pass_costs import spread
from benchmarks.harness.rows import MeasureError
from privinf.sdk.decoder_client import DecoderSide
from privinf.sdk.decoding import Decoding
from privinf.sdk.options import GenerationOptions

BEGINNINGS = (
    "Once upon a time, there was a little girl named Lily.",
    "Tom and his dog went to the park.",
    "One day, a big bear lost his hat in the woods.",
    "The sun was shining and the birds sang.",
    "A boy found a small red box under the bed.",
    "Mia wanted to bake a cake for her mother.",
    "There was a fish who could not swim fast.",
    "It was raining, and the cat sat by the window.",
)
SIZES = (1, 2, 4, 8)
WARM_UP = 3  # tokens of a session that is not counted


@dataclass(frozen=True)
class Run:
    """One session: seconds until the first tokens, and until the last; what its last pass took of a party."""

    first: float
    seconds: float
    rounds: int
    online_bytes: int
    offline_bytes: int
    tokens: tuple[tuple[int, ...], ...]


def write(decoder: Decoder, prompts: Sequence[Sequence[int]], tokens: int) -> Run:
    """Continue prompts together by so many tokens, greedily and past the end of a text."""
    options = [GenerationOptions(max_new_tokens=tokens)] * len(prompts)
    decoding, found = Decoding(decoder.bundle, prompts, options), [list[int]() for _ in prompts]
    began, first = time.monotonic(), 0.0
    with decoder.link.generate(decoding.shape) as passes:
        for written in decoding.steps(partial(passes.step, timeout=DEADLINE)):
            for answer, given in zip(found, written, strict=True):
                answer.extend(given.tokens)
            first = first or time.monotonic() - began
        seconds, last = time.monotonic() - began, written[0].stats[-1]
    decoder.servers.settle()
    if any(len(answer) < tokens for answer in found):
        raise MeasureError(f"the session was full after {len(found[0])} tokens")
    offline = sum(party.preparation_bytes for party in last.parties)
    most = max(last.parties, key=lambda party: party.online_bytes)
    return Run(first, seconds, most.rounds, most.online_bytes, offline, tuple(map(tuple, found)))


def measure(shared: Path, tokens: int, repeat: int, network: str) -> dict[str, Any]:
    """All sizes in turn, by the same processes."""
    side = DecoderSide(shared / "client")
    prompts = [side.prompt(text, raw=True) for text in BEGINNINGS]
    runs: dict[int, list[Run]] = {size: [] for size in SIZES}
    with served(shared, network=network) as decoder:
        write(decoder, prompts[:1], WARM_UP)
        for _ in range(repeat):
            for size, done in runs.items():
                done.append(write(decoder, prompts[:size], tokens))
                print(f"{size} prompts: {done[-1].seconds:.1f} s", file=sys.stderr, flush=True)
        peaks = decoder.servers.peaks()
    alone = runs[1][0].tokens[0]
    sizes = {str(size): figures(size, done, tokens) for size, done in runs.items()}
    same = all(run.tokens[0] == alone for done in runs.values() for run in done)
    about = {"model": shared.name, "network": network, "tokens": tokens, "repeats": repeat}
    return about | {"same_first_answer": same, "prompts": sizes, "memory_peak": peaks}


def figures(size: int, runs: Sequence[Run], tokens: int) -> dict[str, Any]:
    """Tokens a second of all prompts: behind the first of each, and with the reading of the prompts."""
    later = spread([(run.seconds - run.first) / (size * (tokens - 1)) for run in runs])
    whole = spread([run.seconds / (size * tokens) for run in runs])
    last = runs[0]
    return {
        "tokens_per_second": 1 / later["median"],
        "tokens_per_second_with_prompts": 1 / whole["median"],
        "token_seconds": later,
        "first_tokens_seconds": spread([run.first for run in runs]),
        "last_pass": {
            "rounds": last.rounds,
            "online_bytes": last.online_bytes,
            "offline_bytes": last.offline_bytes,
        },
    }


def main() -> None:
    """Write benchmarks/results/batched-MODEL.json, with -NETWORK if that is not loopback."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.batched", description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="written by `privinf share`")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=3, help="sessions of each size")
    parser.add_argument("--network", default="loopback", help="loopback, lan, wan, wan-far; with +dealer")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about = machine.about()
    result = measure(given.shared, given.tokens, given.repeat, given.network)
    path = given.json or machine.result_file(f"batched-{result['model']}", given.network)
    machine.write(path, {"benchmark": "batched", **about, **result})
    for size, found in result["prompts"].items():
        print(f"{size} prompts: {found['tokens_per_second']:.2f} tokens/s")


if __name__ == "__main__":
    main()
