"""One decode step of GPT-2-small-shaped layers: made-up weights and cache, the answer in float64, the workload."""

import math
import re
from dataclasses import dataclass
from typing import Self

import numpy as np
from workloads import BaselineError, DoubleArray, FloatArray, Weights, Workload, gelu, softmax

WIDTH, HEADS, FFN = 768, 12, 3072
EPSILON = 1e-5  # GPT-2's
# Errors are 0.03 after one layer, 0.17 after twelve, mostly the GELU's; a wrong layer is off by more than 1.
BOUND, FURTHER = 0.1, 0.03  # of one layer, and for each that follows
NAME = re.compile(r"gpt2-small-decode-l([1-9]\d*)-k([1-9]\d*)")


@dataclass(frozen=True)
class Step:
    """How many layers, and how many keys the new token attends to, its own among them."""

    layers: int
    keys: int

    @classmethod
    def of(cls, name: str) -> Self:
        """From `gpt2-small-decode-lLAYERS-kKEYS`."""
        if found := NAME.fullmatch(name):
            return cls(int(found[1]), int(found[2]))
        raise BaselineError(f"no workload {name!r}: gpt2-small-decode-lLAYERS-kKEYS")

    @property
    def name(self) -> str:
        return f"gpt2-small-decode-l{self.layers}-k{self.keys}"

    @property
    def bound(self) -> float:
        """The largest error that is no failure."""
        return BOUND + FURTHER * (self.layers - 1)

    @property
    def workload(self) -> Workload:
        """The token's row, folded weights and cache; the answer is its row, then each layer's new key and value."""
        x, layers = make_inputs(self)
        folded = {
            f"{i}.{name}": value for i, layer in enumerate(layers) for name, value in fold(layer).items()
        }
        return Workload(self.name, x, folded, reference(x, layers), self.bound, tokens=1)


def make_inputs(step: Step) -> tuple[FloatArray, list[Weights]]:
    """A seeded row and layers of GPT-2's form, spread so that scores and activations reach past GELU's segments."""
    random = np.random.default_rng(7)

    def normal(spread: float, *size: int) -> FloatArray:
        return random.normal(0.0, spread, size).astype(np.float32)

    def layer() -> Weights:
        sizes = {"qkv": (WIDTH, 3 * WIDTH), "mix": (WIDTH, WIDTH), "up": (WIDTH, FFN), "down": (FFN, WIDTH)}
        out = {f"{name}_w": normal(1.2 / math.sqrt(size[0]), *size) for name, size in sizes.items()}
        out |= {f"{name}_b": normal(0.02, size[1]) for name, size in sizes.items()}
        for name in ("norm1", "norm2"):
            out |= {f"{name}_scale": 1.0 + normal(0.1, WIDTH), f"{name}_shift": normal(0.1, WIDTH)}
        return out | {name: normal(1.2, step.keys - 1, WIDTH) for name in ("keys", "values")}  # the cache

    return normal(1.0, 1, WIDTH), [layer() for _ in range(step.layers)]


def fold(w: Weights) -> Weights:
    """The same layer with LayerNorm's scale and shift, and the scores' factor, inside the products that follow."""
    out = {name: value for name, value in w.items() if not name.startswith("norm")}
    for norm, product in (("norm1", "qkv"), ("norm2", "up")):
        weight = w[f"{product}_w"].astype(np.float64)
        out[f"{product}_b"] = (w[f"{product}_b"] + w[f"{norm}_shift"] @ weight).astype(np.float32)
        out[f"{product}_w"] = (w[f"{norm}_scale"][:, None] * weight).astype(np.float32)
    factor = np.repeat(np.array([math.sqrt(HEADS / WIDTH), 1.0, 1.0], np.float32), WIDTH)
    return out | {name: out[name] * factor for name in ("qkv_w", "qkv_b")}


def reference(x: FloatArray, layers: list[Weights]) -> DoubleArray:
    """The step in float64 on weights that are not folded, head by head."""

    def norm(y: DoubleArray, w: Weights, name: str) -> DoubleArray:
        centred = y - y.mean()
        result: DoubleArray = centred / np.sqrt((centred**2).mean() + EPSILON) * w[f"{name}_scale"]
        return result + w[f"{name}_shift"]

    row, new = x.astype(np.float64), []
    for w in layers:
        query, key, value = np.split(norm(row, w, "norm1") @ w["qkv_w"] + w["qkv_b"], 3, axis=1)
        keys, values = np.concatenate([w["keys"], key]), np.concatenate([w["values"], value])
        heads = zip(*(np.split(each, HEADS, axis=1) for each in (query, keys, values)), strict=True)
        mixed = [softmax(q @ k.T / math.sqrt(WIDTH // HEADS)) @ v for q, k, v in heads]
        row = row + np.concatenate(mixed, axis=1) @ w["mix_w"] + w["mix_b"]
        hidden = gelu(norm(row, w, "norm2") @ w["up_w"] + w["up_b"])
        row = row + hidden @ w["down_w"] + w["down_b"]
        new += [key, value]
    return np.concatenate([row, *new])
