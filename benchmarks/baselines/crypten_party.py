"""One party of the CrypTen baseline: the layer and its operators on CrypTen's tensors, and a process that runs one."""

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crypten_shim  # noqa: F401  # before CrypTen
import numpy as np
import torch

import crypten  # type: ignore[import-not-found]  # isort: skip
import crypten.communicator as comm  # type: ignore[import-not-found]  # isort: skip
from crypten.config import cfg  # type: ignore[import-not-found]  # isort: skip

from processes import end_with_driver
from workloads import BERT_BASE, LAYER, WORKLOADS, forget_peak, peak_bytes

Secret = Any  # crypten.CrypTensor
EDGE = 2.8  # beyond it GELU is x or 0 within 0.007
# Of GELU - x/2 in powers of (x / EDGE)^2, minimax within 0.007.
EVEN = (0.0065620955, 2.8724345035, -2.471769931, 0.9921798569)


def gelu(x: Secret) -> Secret:
    """GELU from two comparisons and an even polynomial: CrypTen's own erf is wrong beyond |x| = 1."""
    below, not_above = crypten.stack([x + EDGE, x - EDGE]) < 0
    square = (x / EDGE).square()
    fourth = square.square()
    middle = x / 2 + EVEN[0] + square * EVEN[1] + fourth * EVEN[2] + (fourth * square) * EVEN[3]
    return (crypten.stack([middle, x]) * crypten.stack([not_above - below, 1 - not_above])).sum(0)


def normalise(x: Secret) -> Secret:
    """LayerNorm of the last axis, without gain and bias."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * centred.square().mean(-1, keepdim=True).inv_sqrt()


def softmax(x: Secret) -> Secret:
    """CrypTen's own softmax of the last axis."""
    return x.softmax(-1)


def layer(x: Secret, w: dict[str, Secret]) -> Secret:
    """The encoder layer."""
    shape = BERT_BASE

    def linear(y: Secret, name: str) -> Secret:
        return y.matmul(w[f"{name}_w"]) + w[f"{name}_b"]

    def split(y: Secret) -> Secret:
        return y.view(shape.tokens, shape.heads, -1).transpose(0, 1)

    def norm(y: Secret, name: str) -> Secret:
        return normalise(y) * w[f"{name}_scale"] + w[f"{name}_shift"]

    query, key, value = (split(linear(x, name)) for name in ("query", "key", "value"))
    scores = query.matmul(key.transpose(1, 2)) / math.sqrt(shape.width // shape.heads)
    mixed = softmax(scores).matmul(value).transpose(0, 1).reshape(shape.tokens, shape.width)
    x = norm(x + linear(mixed, "mix"), "norm1")
    return norm(x + linear(gelu(linear(x, "up")), "down"), "norm2")


FUNCTIONS: dict[str, Callable[[Secret, dict[str, Secret]], Secret]] = {
    LAYER: layer,
    "ring-gemm-128x768x3072": lambda x, w: x.matmul(w["weight"]),
    "comparison-128x3072": lambda x, w: x >= 0,
    "gelu-128x3072": lambda x, w: gelu(x),
    "softmax-12x128x128": lambda x, w: softmax(x),
    "layernorm-128x768": lambda x, w: normalise(x),
}


def run_function(name: str, repeat: int) -> tuple[list[float], dict[str, Any], Any]:
    """Runs once to warm up and count traffic, then times; the answer is opened to both."""
    work, function = WORKLOADS[name](), FUNCTIONS[name]
    x = crypten.cryptensor(torch.from_numpy(work.x), src=0)
    w = {key: crypten.cryptensor(torch.from_numpy(value), src=0) for key, value in work.weights.items()}
    forget_peak()
    cfg.communicator.verbose = True
    comm.get().reset_communication_stats()
    function(x, w)
    traffic = comm.get().get_communication_stats()
    cfg.communicator.verbose = False
    times = []
    for _ in range(repeat):
        comm.get().barrier()
        start = time.perf_counter()
        answer = function(x, w)
        comm.get().barrier()  # a layer is done when the slower party is
        times.append(time.perf_counter() - start)
    # CrypTen's own decoder is off by one at some negative numbers, such as -1.99998.
    return times, traffic, answer.reveal().numpy() / answer.encoder.scale


def main() -> None:
    """Entry point of a party process; CrypTen reads its rank and where to meet from the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("--workload", choices=list(FUNCTIONS), required=True)
    args = parser.parse_args()
    end_with_driver()
    torch.set_num_threads(args.threads)
    crypten.init()
    times, traffic, answer = run_function(args.workload, args.repeat)
    np.save(args.folder / f"answer{args.rank}.npy", answer)
    report = {
        "times": times,
        "peak_bytes": peak_bytes(),
        "rounds": traffic["rounds"],
        "bytes": traffic["bytes"],
    }
    (args.folder / f"report{args.rank}").write_text(json.dumps(report))
    os._exit(0)  # gloo's threads now and then abort an interpreter that is being taken down


if __name__ == "__main__":
    main()
