"""A1, weights alone: products in which the hidden cover cancels, their rows sorted, the closest rows matched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from privinf.equivariant.attacks.matching import Array, Ids, nearest, sketch, vote
from privinf.equivariant.attacks.truth import SAMPLED
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View
from privinf.equivariant.attacks.weights import F32, Weights, first_part

SKETCH = 256
BLOCK = 1024
Product = Callable[[F32], Array]  # of rows of tokens: (tokens, anything whose order is unknown)
Maker = Callable[[Weights, F32], Product]  # of a model's weights and all rows of its vocabulary


def weights(view: View, leak: Leak) -> Findings:
    """Match by several products, and let them vote."""
    targets = view.traffic.targets
    lists = {name: _matched(view, targets, maker) for name, maker in _products(view).items()}
    guesses = {name: guess for name, (guess, _) in lists.items()}
    guesses["vote"] = Guess(targets, vote([(guess.plain, weight) for guess, weight in lists.values()]))
    said = {name: round(weight, 4) for name, (_, weight) in lists.items()}
    return Findings(guesses | _sampled(view), facts={"sketch": SKETCH, "votes": said})


def _products(view: View) -> dict[str, Maker]:
    """The embedding itself, and what feed-forward parts of three layers make of it."""
    known = view.spec
    part, layers = first_part(known), sorted({0, known.layers // 2, known.layers - 1})
    if view.traffic.positions is not None:
        layers = layers[:1]  # candidates differ at every position: one product is dear enough
    found: dict[str, Maker] = {"rows": lambda weights, table: lambda rows: rows}
    for layer in layers:
        found[f"rows x {part} {layer}"] = _reading(layer, part)
        if known.gated and not view.local:  # what is scaled is compared by its spread over the vocabulary
            found[f"rows x up {layer}"] = _scaled(layer)
    return found


def _reading(layer: int, part: str) -> Maker:
    def make(weights: Weights, table: F32) -> Product:
        weight = weights.reads(layer, part)
        return lambda rows: rows @ weight

    return make


def _scaled(layer: int) -> Maker:
    """Beside a gate every column may have a factor of its own, whatever its sign."""

    def make(weights: Weights, table: F32) -> Product:
        weight = weights.reads(layer, "up")
        spread = np.sqrt(np.einsum("ij,ij->j", weight, (table.T @ table) @ weight) / len(table))
        scaled = weight / np.maximum(spread, np.finfo(np.float32).tiny)
        return lambda rows: np.abs(rows @ scaled)

    return make


def _matched(view: View, targets: Ids, maker: Maker) -> tuple[Guess, float]:
    """The closest tokens of each target, and by how much the first is closer than the second."""
    ours = _sketched(maker(view.server, view.table), view.table[targets])
    guess, distance = view.closest(targets, ours, lambda pool: _sketched(maker(view.plain, pool), pool))
    ratio = np.sqrt(distance[:, 0] / np.maximum(distance[:, 1], 1e-30))
    return guess, float(1 - np.median(ratio))


def _sketched(product: Product, rows: F32) -> Array:
    """In blocks, as the product may be far wider than its sketch."""
    blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
    return np.concatenate([sketch(product(block), SKETCH) for block in blocks])


def _sampled(view: View) -> dict[str, Guess]:
    """Products as wide as the vocabulary, for a sample of targets in a pool, as published evaluations do it."""
    if view.local:
        return {}
    targets, pool, plain = view.traffic.sample[:SAMPLED], view.traffic.pool, view.candidates()
    wide: dict[str, Maker] = {"rows x q x k x rows, sampled": _scores}
    if view.decoder:
        wide["rows x head, sampled"] = _logits
    found = {}
    for name, maker in wide.items():
        ours = _sketched(maker(view.server, view.table), view.table[targets])
        theirs = _sketched(maker(view.plain, plain), plain[pool])
        found[name] = Guess(targets, pool[nearest(ours, theirs)[0]], sampled=True)
    return found


def _logits(weights: Weights, table: F32) -> Product:
    head = weights.head()
    return lambda rows: rows @ head


def _scores(weights: Weights, table: F32) -> Product:
    """Attention of the first layer between tokens, summed over heads: their order and their maps cancel."""
    known = weights.spec
    q, k = weights.reads(0, "q"), weights.reads(0, "k")
    width, size = len(q), q.shape[1] // known.heads
    k = np.repeat(k.reshape(width, known.kv_heads, size), known.heads // known.kv_heads, axis=1)
    keys = (q @ k.reshape(width, -1).T) @ table.T
    return lambda rows: rows @ keys
