"""Seconds until the first token of a long prompt, and the memory of each server, for a real decoder over TLS."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.generating import served
from benchmarks.harness.pass_costs import spread
from privinf.sdk.decoder_client import DecoderSide

TEXT = "The harbour lies quiet at dawn, and the boats come home with the tide. "
WARM_UP = 8  # tokens of a prompt that is not counted


def measure(shared: Path, rows: int, repeat: int, network: str) -> dict[str, Any]:
    """A session for each turn: nothing of it is prepared when the clock starts, and it ends with its first token."""
    side = DecoderSide(shared / "client")
    prompt = side.prompt(TEXT * (rows // 8), raw=False)[:rows]
    with served(shared, network=network) as decoder:
        decoder.write(prompt[:WARM_UP], 1, "sustained")
        runs = [decoder.write(prompt, 1, "sustained") for _ in range(repeat)]
        peaks = decoder.servers.peaks()
    return {
        "model": shared.name,
        "network": network,
        "prompt_tokens": len(prompt),
        "prompt_passes": [one.rows for one in runs[0].prompt],
        "first_token_seconds": spread([run.first_seconds for run in runs]),
        "peak": peaks,
    }


def main() -> None:
    """Write benchmarks/results/first-token.json, with -NETWORK if that is not loopback."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.first_token", description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="written by `privinf share`")
    parser.add_argument("--rows", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--network", default="loopback", help="loopback, lan, wan, wan-far; with +dealer")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about = machine.about()
    result = measure(given.shared, given.rows, given.repeat, given.network)
    path = given.json or machine.result_file("first-token", given.network)
    machine.write(path, {"benchmark": "first-token", **about, **result})
    seconds, peak = result["first_token_seconds"]["median"], max(result["peak"].values())
    print(f"first token: {seconds:.2f} s, peak {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
