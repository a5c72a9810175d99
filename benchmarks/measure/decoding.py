"""Tokens per second and their costs, for real decoders over three server processes with TLS."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.generating import Decoder, Generated, served
from benchmarks.harness.pass_costs import PACES, Pace, spread, summary
from privinf.sdk.decoder_client import DecoderSide

PROMPTS = {
    "tinystories": "Once upon a time, there was a little girl named Lily. She had a red ball",
    "smollm2": "What should I look at first when I visit a town by the sea?",
}
WARM_UP = 3  # tokens of a session that is not counted
HOW = {
    "online": "preparations made beforehand: each pass is asked once all servers are idle, and the dealer is stopped "
    "while it runs; passes that waited for a preparation all the same are left out",
    "sustained": "the dealer prepares passes while others run, two ahead; seconds by the wall clock, all in",
}


def measure(name: str, shared: Path, tokens: int, repeat: int, network: str) -> dict[str, Any]:
    """All paces of one model, by the same processes."""
    side = DecoderSide(shared / "client")
    prompt = side.prompt(PROMPTS[name], raw=False)
    with served(shared, network=network) as decoder:
        start = decoder.servers.resident()
        warm = decoder.write(prompt, WARM_UP, "sustained")
        paces, written = {}, list[Generated]()
        for pace in PACES:
            runs = [_run(decoder, prompt, tokens, pace) for _ in range(repeat)]
            written += runs
            paces[pace] = {"how": HOW[pace], **_figures(runs, pace)}
        peaks = decoder.servers.peaks()
    return {
        "model": name,
        "network": network,
        "tokens": tokens,
        "repeats": repeat,
        "prompt_tokens": len(prompt),
        "prompt_rows": sum(p.rows for p in written[0].prompt),
        "prefix_tokens": len(side.bundle.layout.plan.prefix),
        "same_tokens": len({run.tokens for run in written}) == 1,
        "text": side.tokenizer.decode(written[0].tokens),
        "paces": paces,
        "memory": {
            "at_start": start,
            "after_first_session": warm.after_close,
            "before_close": written[-1].before_close,
            "after_close": written[-1].after_close,
            "peak": peaks,
        },
    }


def _run(decoder: Decoder, prompt: list[int], tokens: int, pace: Pace) -> Generated:
    done = decoder.write(prompt, tokens, pace)
    print(f"{pace}: {done.token_seconds:.2f} s a token", file=sys.stderr, flush=True)
    return done


def _figures(runs: list[Generated], pace: Pace) -> dict[str, Any]:
    later = [one for run in runs for one in run.later]
    each = spread([run.token_seconds for run in runs])
    return {
        "tokens_per_second": 1 / each["median"],
        "token_seconds": each,  # of a session: from the first token to the last, the client's own work included
        "first_token_seconds": spread([run.first_seconds for run in runs]),
        "pass": summary(later, pace),
        "prompt_passes": [asdict(one) for one in runs[0].prompt],
    }


def main() -> None:
    """Write benchmarks/results/decoding-MODEL.json, with -NETWORK if that is not loopback."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.decoding", description=__doc__)
    parser.add_argument("model", choices=sorted(PROMPTS))
    parser.add_argument("--shared", type=Path, required=True, help="written by `privinf share`")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3, help="sessions of each pace")
    parser.add_argument("--network", default="loopback", help="loopback, lan, wan, wan-far; with +dealer")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about = machine.about()
    result = measure(given.model, given.shared, given.tokens, given.repeat, given.network)
    path = given.json or machine.result_file(f"decoding-{given.model}", given.network)
    machine.write(path, {"benchmark": "decoding", **about, **result})
    for pace, found in result["paces"].items():
        print(
            f"{pace}: {found['tokens_per_second']:.2f} tokens/s, first {found['first_token_seconds']['median']:.2f} s"
        )


if __name__ == "__main__":
    main()
