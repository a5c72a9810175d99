"""A1, weights alone: products in which the hidden cover cancels, their rows sorted, the closest rows matched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from privinf.equivariant.attacks.matching import TOP, Array, Ids, nearest, sketch, vote
from privinf.equivariant.attacks.truth import SAMPLED
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View
from privinf.equivariant.attacks.weights import F32, Weights

SKETCH = 256
BLOCK = 1024
Product = Callable[[Weights, F32], Array]  # of rows of tokens, (tokens, anything whose order is unknown)


def weights(view: View, leak: Leak) -> Findings:
    """Match by several products, and let them vote."""
    targets = view.traffic.targets
    lists = {name: _matched(view, targets, product) for name, product in _products(view).items()}
    guesses = {name: Guess(targets, found) for name, (found, _) in lists.items()}
    guesses["vote"] = Guess(targets, vote(list(lists.values())))
    said = {name: round(weight, 4) for name, (_, weight) in lists.items()}
    return Findings(guesses | _sampled(view), facts={"sketch": SKETCH, "votes": said})


def _products(view: View) -> dict[str, Product]:
    """The embedding itself, and what feed-forward parts of three layers make of it."""
    known = view.facts
    layers = sorted({0, known.layers // 2, known.layers - 1})
    if view.traffic.positions is not None:
        layers = layers[:1]  # candidates differ at every position: one product is dear enough
    found: dict[str, Product] = {"rows": lambda weights, rows: rows}
    for layer in layers:
        for part in ("gate", "up") if known.gated else ("up",):
            found[f"rows x {part} {layer}"] = _reading(layer, part)
    return found


def _reading(layer: int, part: str) -> Product:
    return lambda weights, rows: rows @ weights.reads(layer, part)


def _matched(view: View, targets: Ids, product: Product) -> tuple[Ids, float]:
    """The closest tokens of each target, and how much closer the first is than the second: what the product is worth."""
    ours = _sketched(product, view.server, view.table[targets])
    top = min(TOP, view.facts.vocab)
    found, distance = np.empty((len(targets), top), dtype=np.int64), np.empty((len(targets), top))
    for places, position in view.groups(targets):
        theirs = _sketched(product, view.plain, view.candidates(position))
        found[places], distance[places] = nearest(ours[places], theirs)
    ratio = np.sqrt(distance[:, 0] / np.maximum(distance[:, 1], 1e-30))
    return found, float(1 - np.median(ratio))


def _sketched(product: Product, weights: Weights, rows: F32) -> Array:
    """In blocks, as the product may be far wider than its sketch."""
    return np.concatenate(
        [
            sketch(product(weights, rows[start : start + BLOCK]), SKETCH)
            for start in range(0, len(rows), BLOCK)
        ]
    )


def _sampled(view: View) -> dict[str, Guess]:
    """Products as wide as the vocabulary, for a sample of targets in a pool, as published evaluations do it."""
    if view.local:
        return {}
    targets, pool = view.traffic.sample[:SAMPLED], view.traffic.pool
    wide = {"rows x q x k x rows, sampled": _scores}
    if view.facts.decoder:
        wide["rows x head, sampled"] = _logits
    found = {}
    for name, product in wide.items():
        ours = _sketched(product(view.server, view.table), view.server, view.table[targets])
        plain = view.candidates()
        theirs = _sketched(product(view.plain, plain), view.plain, plain[pool])
        found[name] = Guess(targets, pool[nearest(ours, theirs)[0]], sampled=True)
    return found


def _logits(weights: Weights, table: F32) -> Product:
    head = weights.head()
    assert head is not None
    return lambda weights, rows: rows @ head


def _scores(weights: Weights, table: F32) -> Product:
    """Attention of the first layer between tokens, summed over heads: their order and their maps cancel."""
    known = weights.facts
    q, k = weights.reads(0, "q"), weights.reads(0, "k")
    width, size = len(q), q.shape[1] // known.heads
    k = np.repeat(k.reshape(width, known.kv_heads, size), known.heads // known.kv_heads, axis=1)
    keys = (q @ k.reshape(width, -1).T) @ table.T
    return lambda weights, rows: rows @ keys
