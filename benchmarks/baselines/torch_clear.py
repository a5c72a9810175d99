"""Times float32 PyTorch in the clear: the BERT encoder layer, its operators, and whole encoders."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModel, BertConfig, BertModel
from workloads import BERT_BASE, EPSILON, LAYER, WORKLOADS, BaselineError, forget_peak, peak_bytes, row, show

LEAVES_OUT = "all privacy: one process computes on the data itself"
WHOLE = "bert-base-128"
BOUND = 1e-3  # of float32 against float64
Tensor = torch.Tensor


def normalise(x: Tensor) -> Tensor:
    """LayerNorm of the last axis, without gain and bias."""
    return functional.layer_norm(x, x.shape[-1:], eps=EPSILON)


def layer(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """The encoder layer."""
    shape = BERT_BASE

    def linear(y: Tensor, name: str) -> Tensor:
        return y @ w[f"{name}_w"] + w[f"{name}_b"]

    def split(y: Tensor) -> Tensor:
        return y.view(shape.tokens, shape.heads, -1).transpose(0, 1)

    def norm(y: Tensor, name: str) -> Tensor:
        return functional.layer_norm(y, y.shape[-1:], w[f"{name}_scale"], w[f"{name}_shift"], EPSILON)

    query, key, value = (split(linear(x, name)) for name in ("query", "key", "value"))
    mixed = functional.scaled_dot_product_attention(query, key, value)
    x = norm(x + linear(mixed.transpose(0, 1).reshape(shape.tokens, shape.width), "mix"), "norm1")
    return norm(x + linear(functional.gelu(linear(x, "up")), "down"), "norm2")


FUNCTIONS: dict[str, Callable[[Tensor, dict[str, Tensor]], Tensor]] = {
    LAYER: layer,
    "ring-gemm-128x768x3072": lambda x, w: x @ w["weight"],
    "comparison-128x3072": lambda x, w: x >= 0,
    "gelu-128x3072": lambda x, w: functional.gelu(x),
    "softmax-12x128x128": lambda x, w: x.softmax(-1),
    "layernorm-128x768": lambda x, w: normalise(x),
}


def timed(run: Callable[[], Tensor], repeat: int) -> tuple[list[float], Tensor]:
    """Seconds of each run after one to warm up, and the last answer."""
    forget_peak()
    answer, times = run(), []
    for _ in range(repeat):
        start = time.perf_counter()
        answer = run()
        times.append(time.perf_counter() - start)
    return times, answer


def measure(name: str, repeat: int) -> dict[str, Any]:
    """The row of a workload that the other baselines run too."""
    work = WORKLOADS[name]()
    x, w = torch.from_numpy(work.x), {key: torch.from_numpy(value) for key, value in work.weights.items()}
    times, answer = timed(lambda: FUNCTIONS[name](x, w), repeat)
    return _row(name, work.tokens, times, work.error(answer.numpy()))


def measure_model(name: str, model: Any, tokens: int, repeat: int) -> dict[str, Any]:
    """The row of a whole encoder; its error is the distance from itself in float64."""
    model.eval()
    ids = torch.randint(
        1000, model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(7)
    )
    times, answer = timed(lambda: model(input_ids=ids).last_hidden_state, repeat)
    found = _row(name, tokens, times, None)
    error = float((model.double()(input_ids=ids).last_hidden_state - answer).abs().max())
    if not error <= BOUND:
        raise BaselineError(f"wrong answer: {name} is off by {error}")
    return found | {"max_abs_error": error}


def _row(name: str, tokens: int, times: list[float], error: float | None) -> dict[str, Any]:
    known = {"leaves_out": LEAVES_OUT, "peak_bytes": peak_bytes(), "max_abs_error": error}
    return row(name, tokens, "torch-float32", times, **known)


def bert_base() -> Any:
    """A BERT-base encoder with seeded random weights."""
    torch.manual_seed(7)
    return BertModel(BertConfig(), add_pooling_layer=False)


def main() -> int:
    """Entry point: 0 when everything ran and every answer is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", nargs="*", choices=[*WORKLOADS, WHOLE], default=[LAYER, WHOLE])
    parser.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="as minilm=DIR")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128], help="of the models given")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = []
    try:
        with torch.inference_mode():
            for name in args.workload:
                if name == WHOLE:
                    rows.append(measure_model(WHOLE, bert_base(), BERT_BASE.tokens, args.repeat))
                else:
                    rows.append(measure(name, args.repeat))
            for name, _, folder in (each.partition("=") for each in args.model):
                for tokens in args.tokens:
                    model = AutoModel.from_pretrained(Path(folder), local_files_only=True)
                    rows.append(measure_model(f"{name}-{tokens}", model, tokens, args.repeat))
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 1
    show(rows, args.json, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
