"""What every baseline computes: seeded inputs in float32, answers in float64, and the form of a row."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
Weights = dict[str, FloatArray]

EPSILON = 1e-12  # BERT's, below the fixed point's step: it only guards the float reference
GRID = 1024.0  # comparisons get odd multiples of 1/2048, which no fixed point here rounds across zero
LAYER = "bert-base-layer-128"


class BaselineError(Exception):
    """The baseline did not run to its end, or its answer is wrong."""


@dataclass(frozen=True)
class Shape:
    """Dimensions of the layer."""

    tokens: int
    width: int
    heads: int
    ffn: int


BERT_BASE = Shape(tokens=128, width=768, heads=12, ffn=3072)
VIT_LITE = Shape(tokens=65, width=256, heads=4, ffn=512)  # of MPCViT's models for CIFAR
VIT_LAYER = "vit-lite-layer-65-"


@dataclass(frozen=True)
class Workload:
    """An input, secret weights, and the exact answer with the largest error that is no failure."""

    name: str
    x: FloatArray
    weights: Weights
    expected: DoubleArray
    bound: float
    tokens: int = BERT_BASE.tokens  # rows of a query

    def error(self, answer: npt.ArrayLike) -> float:
        """How far an answer is off; BaselineError where that is too far."""
        error = float(np.abs(np.asarray(answer, dtype=np.float64) - self.expected).max())
        if not error <= self.bound:
            raise BaselineError(f"wrong answer: {self.name} is off by {error}")
        return error


def _normal(seed: int, spread: float, *size: int) -> FloatArray:
    return np.random.default_rng(seed).normal(0.0, spread, size).astype(np.float32)


def _layer() -> Workload:
    x, weights = make_inputs(BERT_BASE)
    # A fixed point is off by 0.03 at most, mostly PUMA's GELU; a wrong layer is off by more than 1.
    return Workload(LAYER, x, weights, reference(x, weights, BERT_BASE.heads), 0.1)


def _gemm() -> Workload:
    shape = BERT_BASE
    x = _normal(11, 1.0, shape.tokens, shape.width)
    weight = _normal(12, 1.2 / math.sqrt(shape.width), shape.width, shape.ffn)
    expected = x.astype(np.float64) @ weight
    return Workload("ring-gemm-128x768x3072", x, {"weight": weight}, expected, 0.01)


def _comparison() -> Workload:
    x = (np.floor(_normal(11, 1.5, BERT_BASE.tokens, BERT_BASE.ffn) * GRID) + np.float32(0.5)) / np.float32(
        GRID
    )
    return Workload("comparison-128x3072", x, {}, (x >= 0).astype(np.float64), 0.5)


def _gelu() -> Workload:
    x = _normal(11, 1.5, BERT_BASE.tokens, BERT_BASE.ffn)
    return Workload("gelu-128x3072", x, {}, gelu(x.astype(np.float64)), 0.05)


def _softmax() -> Workload:
    x = _normal(11, 2.0, BERT_BASE.heads, BERT_BASE.tokens, BERT_BASE.tokens)
    return Workload("softmax-12x128x128", x, {}, softmax(x.astype(np.float64)), 0.02)


def _layernorm() -> Workload:
    x = _normal(11, 1.5, BERT_BASE.tokens, BERT_BASE.width) + np.float32(1.0)
    return Workload("layernorm-128x768", x, {}, normalise(x.astype(np.float64)), 0.05)


def _vit(attention: str) -> Workload:
    shape = VIT_LITE
    x, weights = make_inputs(shape)
    mix = softmax if attention == "softmax" else scaled
    return Workload(VIT_LAYER + attention, x, weights, vit_reference(x, weights, shape.heads, mix), 0.1, 65)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    LAYER: _layer,
    VIT_LAYER + "softmax": lambda: _vit("softmax"),
    VIT_LAYER + "scaling": lambda: _vit("scaling"),
    "ring-gemm-128x768x3072": _gemm,
    "comparison-128x3072": _comparison,
    "gelu-128x3072": _gelu,
    "softmax-12x128x128": _softmax,
    "layernorm-128x768": _layernorm,
}


def gelu(x: DoubleArray) -> DoubleArray:
    """The exact GELU."""
    result: DoubleArray = x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    return result


def softmax(x: DoubleArray) -> DoubleArray:
    """Softmax of the last axis."""
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    result: DoubleArray = raised / raised.sum(axis=-1, keepdims=True)
    return result


def normalise(x: DoubleArray) -> DoubleArray:
    """LayerNorm of the last axis, without gain and bias."""
    result: DoubleArray = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(
        x.var(axis=-1, keepdims=True) + EPSILON
    )
    return result


def reference(x: FloatArray, w: Weights, heads: int) -> DoubleArray:
    """The layer, head by head in float64, to check the answers against."""

    def norm(y: DoubleArray, name: str) -> DoubleArray:
        result: DoubleArray = normalise(y) * w[f"{name}_scale"] + w[f"{name}_shift"]
        return result

    y = x.astype(np.float64)
    projected = [y @ w[f"{name}_w"] + w[f"{name}_b"] for name in ("query", "key", "value")]
    mixed = []
    for query, key, value in zip(*(np.split(each, heads, axis=1) for each in projected), strict=True):
        mixed.append(softmax(query @ key.T / math.sqrt(query.shape[1])) @ value)
    y = norm(y + np.concatenate(mixed, axis=1) @ w["mix_w"] + w["mix_b"], "norm1")
    hidden = gelu(y @ w["up_w"] + w["up_b"])
    return norm(y + hidden @ w["down_w"] + w["down_b"], "norm2")


def scaled(x: DoubleArray) -> DoubleArray:
    """Scores over their number, as scaling attention has them."""
    result: DoubleArray = x / x.shape[-1]
    return result


def vit_reference(
    x: FloatArray, w: Weights, heads: int, mix: Callable[[DoubleArray], DoubleArray]
) -> DoubleArray:
    """ViT-Lite's block, in float64: x + attention(LN(x)), then LN, then x + MLP(x); queries without a bias."""

    def norm(y: DoubleArray, name: str) -> DoubleArray:
        result: DoubleArray = normalise(y) * w[f"{name}_scale"] + w[f"{name}_shift"]
        return result

    y = x.astype(np.float64)
    rows = norm(y, "norm1")
    mixed = []
    projected = [rows @ w[f"{name}_w"] for name in ("query", "key", "value")]
    for query, key, value in zip(*(np.split(each, heads, axis=1) for each in projected), strict=True):
        mixed.append(mix(query @ key.T / math.sqrt(query.shape[1])) @ value)
    y = norm(y + np.concatenate(mixed, axis=1) @ w["mix_w"] + w["mix_b"], "norm2")
    result: DoubleArray = y + gelu(y @ w["up_w"] + w["up_b"]) @ w["down_w"] + w["down_b"]
    return result


def make_inputs(shape: Shape) -> tuple[FloatArray, Weights]:
    """A seeded input and weights spread so that scores and activations reach past GELU's outer segments."""
    random = np.random.default_rng(7)

    def normal(spread: float, *size: int) -> FloatArray:
        return random.normal(0.0, spread, size).astype(np.float32)

    sizes = {name: (shape.width, shape.width) for name in ("query", "key", "value", "mix")}
    sizes |= {"up": (shape.width, shape.ffn), "down": (shape.ffn, shape.width)}
    weights: Weights = {}
    for name, (rows, columns) in sizes.items():
        weights[f"{name}_w"] = normal(1.2 / math.sqrt(rows), rows, columns)
        weights[f"{name}_b"] = normal(0.02, columns)
    for name in ("norm1", "norm2"):
        weights[f"{name}_scale"] = 1.0 + normal(0.1, shape.width)
        weights[f"{name}_shift"] = normal(0.1, shape.width)
    return normal(1.0, shape.tokens, shape.width), weights


def row(workload: str, tokens: int, system: str, seconds: list[float], **known: Any) -> dict[str, Any]:
    """A row of a result file; what is not known is null. A baseline has no phases: its time is the total."""
    fields: dict[str, Any] = {
        "workload": workload,
        "system": system,
        "network": "loopback",
        "phase": "total",
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": len(seconds),
        **dict.fromkeys(("bytes", "rounds", "peak_bytes")),
        "leaves_out": "",
        "tokens": tokens,
        "batch": 1,
        "max_abs_error": None,
    }
    return fields | known


def show(rows: Sequence[dict[str, Any]], as_json: bool, out: TextIO) -> None:
    """Prints rows as one JSON list, or one line each."""
    line = "{system} {network} {workload}: {median_s:.3f} s, error {max_abs_error:.2g}"
    text = json.dumps(list(rows)) if as_json else "\n".join(line.format(**each) for each in rows)
    print(text, file=out, flush=True)


def forget_peak() -> None:
    """Starts `peak_bytes` afresh, from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """The largest resident set of this process so far, without that of the process which started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError("the kernel does not say how much memory was used")
