"""Whether a trained model of images says in shares what it says in float32: test images, fixed and over processes."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import machine
from benchmarks.harness.deployment import Deployment, of_model
from benchmarks.harness.ours import DEADLINE
from privinf.models.clear import ClearImages
from privinf.models.engines.stores import IdealStore, encode
from privinf.models.fold import F64, fold
from privinf.models.programs import images as programs
from privinf.models.programs import query
from privinf.models.programs.public import Public
from privinf.models.sharing import bundle, share
from privinf.models.source.checkpoint import load
from privinf.models.source.processor import read_rules
from privinf.models.source.tensors import Array
from privinf.protocols import prg
from privinf.protocols.contract import QueryShape
from privinf.sdk.client import Client
from privinf.train.data_sets import open_images


def measure(model: Path, data: str, fixed: int, asked: int) -> dict[str, Any]:
    """The first test images of a data set."""
    spec, weights = load(model)
    found = open_images(data, (spec.patches.height, spec.patches.width))
    rules, count = read_rules(model, spec), max(fixed, asked)
    pixels = rules.scaled(found.test.images[:count].transpose(0, 3, 1, 2))
    labels, folded = found.test.labels[:count], fold(spec, weights)
    clear = ClearImages(spec, folded).run(torch.from_numpy(pixels)).numpy()[:, 0]
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder:
        shared = Path(folder) / "shared"
        share.share(model, shared)
        runs = {
            "fixed": _fixed(shared, folded, pixels[:fixed]),
            "shares": _asked(shared, Path(folder), pixels[:asked]),
        }
    return {
        "model": model.name,
        "data": data,
        "float32_accuracy": float((clear.argmax(1) == labels).mean()),
        **{name: _compared(logits, clear, labels) for name, logits in runs.items()},
    }


def _fixed(shared: Path, folded: dict[str, F64], pixels: Array) -> Array:
    """Logits of the fixed interpreter, an image a query."""
    client = bundle.read_queries(shared / "client")
    layout, encoded = client.layout, encode(folded, client.layout.scale)
    store, public = IdealStore(encoded, layout.scale), Public.of(layout, encoded)
    shape, rows = QueryShape("classify", 1, layout.max_tokens), []
    for place in range(len(pixels)):
        values = programs.lay_out(layout, shape, pixels[place : place + 1], bundle.of_patches(client))
        seeds = prg.fresh_seed(), prg.fresh_seed()
        logits, given = query.fixed(
            layout, shape, programs.plain(layout, shape, values), seeds, store, public
        )
        rows.append(logits.reshape(-1) if given else np.full(len(client.spec.labels), np.nan))
        if place % 100 == 99:
            print(f"fixed: {place + 1} images", file=sys.stderr, flush=True)
    return np.array(rows, np.float32)


def _asked(shared: Path, work: Path, pixels: Array) -> Array:
    """Logits of three processes, over TLS."""
    with Deployment(of_model(shared), work) as servers:
        options: dict[str, Any] = {"parties": servers.addresses, "tls": servers.tls(), "deadline": DEADLINE}
        with Client(shared / "client", **options) as client:
            return client.classify(pixels).logits


def _compared(logits: Array, clear: Array, labels: Array) -> dict[str, Any]:
    own = clear[: len(logits)]
    return {
        "images": len(logits),
        "withheld": int(np.isnan(logits[:, 0]).sum()),
        "same_class": float((logits.argmax(1) == own.argmax(1)).mean()),
        "accuracy": float((logits.argmax(1) == labels[: len(logits)]).mean()),
        "max_abs_error": float(np.nanmax(np.abs(logits - own))),
        "mean_abs_error": float(np.nanmean(np.abs(logits - own))),
    }


def main() -> None:
    """Write benchmarks/results/vit-accuracy.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.vit_accuracy", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="as `privinf train` wrote it")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--fixed", type=int, default=1000)
    parser.add_argument("--asked", type=int, default=100)
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "vit-accuracy.json")
    given = parser.parse_args()
    found = measure(given.model, given.data, given.fixed, given.asked)
    machine.write(given.json, {"benchmark": "vit accuracy", **machine.about(), **found})
    for run in ("fixed", "shares"):
        print(f"{run}: {100 * found[run]['same_class']:.1f} % of {found[run]['images']} as float32")


if __name__ == "__main__":
    main()
