"""Asks running parties through the SDK, compares with the clear model, and exits with 1 if the answer is not close."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from privinf import Client
from privinf.config import Tls

TEXTS = (
    "The train to the coast leaves at nine.",
    "A locomotive departs for the seaside in the morning.",
    "Interest rates were left unchanged by the central bank.",
)
CLOSE = 0.9999  # the least cosine to float32 that counts as the same answer


def main() -> int:
    """Embed the texts, compare where a clear model is given, print one JSON document."""
    options = _options()
    keys = Tls(options.keys / "ca.pem", options.keys / "client.pem", options.keys / "client.key")
    with Client(options.model, parties=options.parties.split(","), tls=keys, deadline=600.0) as client:
        answer = client.embed(TEXTS)
    cosines = _cosines(answer.vectors, options.clear).tolist() if options.clear else None
    document = {"shape": answer.vectors.shape, "cosines": cosines, "stats": asdict(answer.stats)}
    print(json.dumps(document, indent=1))
    return int(cosines is not None and min(cosines) < CLOSE)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the client's folder of a shared model")
    parser.add_argument("--keys", type=Path, required=True, help="holds ca.pem, client.pem, client.key")
    parser.add_argument("--parties", default="localhost:50051,localhost:50052", help="party 0, party 1")
    parser.add_argument("--clear", type=Path, help="the model that was shared; needs privinf[models]")
    return parser.parse_args()


def _cosines(vectors: np.ndarray, directory: Path) -> np.ndarray:
    from privinf.models.fold import fold
    from privinf.models.sharing.calibrate import clear_answers
    from privinf.models.source.checkpoint import load
    from privinf.models.text.tokenizer import Tokenizer

    spec, weights = load(directory)
    clear = clear_answers(spec, fold(spec, weights), Tokenizer(directory).encode(TEXTS))
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(clear, axis=1)
    cosines: np.ndarray = (vectors * clear).sum(axis=1) / norms
    return cosines


if __name__ == "__main__":
    raise SystemExit(main())
