"""Measures how close private answers come to float32 ones: fixed interpreter, and shares over real processes."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import machine
from benchmarks.harness.rows import MeasureError
from privinf.formats.fetch import fetch
from privinf.local import LocalParties
from privinf.models.engines import stores
from privinf.models.fold import F64, fold
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import POST
from privinf.models.programs import query, texts
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.public import Public
from privinf.models.programs.texts import Ids
from privinf.models.sharing import bundle, calibrate
from privinf.models.source.checkpoint import load
from privinf.models.spec import ModelSpec
from privinf.models.text.tokenizer import Tokenizer, bucket, read_lines
from privinf.protocols import prg
from privinf.protocols.contract import QueryShape
from privinf.sdk.answers import Usage
from privinf.sdk.client import Client

F32 = npt.NDArray[np.float32]
Mode = Literal["private", "public"]
SENTENCES = machine.ROOT / "tests" / "data" / "sentences.txt"
LEAST_COSINE, MEAN_COSINE, LEAST_SPEARMAN = 0.9995, 0.9999, 0.999
FIXED_TOKENS = 1024  # rows of one run of the fixed interpreter: bounds its memory
DEADLINE = 600.0


@dataclass(frozen=True)
class Subject:
    """A model planned from the calibration text that ships, ready for any interpreter."""

    directory: Path
    spec: ModelSpec
    folded: dict[str, F64]
    plan: Plan
    tokenizer: Tokenizer
    mode: Mode

    @classmethod
    def load(cls, directory: Path, mode: Mode) -> Self:
        """Read and calibrate, as `privinf share` does."""
        spec, tensors = load(directory)
        folded, tokenizer = fold(spec, tensors), Tokenizer(directory)
        ids = tokenizer.encode(calibrate.default_text(), truncate=True)
        return cls(directory, spec, folded, calibrate.calibrate(spec, folded, ids), tokenizer, mode)

    @property
    def task(self) -> str:
        return self.spec.task

    def clear(self, ids: Sequence[Ids]) -> F32:
        """The float32 answers."""
        return calibrate.clear_answers(self.spec, self.folded, ids)


def by_bucket(ids: Sequence[Ids]) -> dict[int, list[int]]:
    """Places of the texts of each length bucket."""
    places: dict[int, list[int]] = {}
    for place, tokens in enumerate(ids):
        places.setdefault(bucket(len(tokens)), []).append(place)
    return dict(sorted(places.items()))


def in_fixed(subject: Subject, ids: Sequence[Ids]) -> tuple[F32, list[dict[str, Any]]]:
    """Answers of the fixed interpreter under fresh masks, and the seconds of each bucket."""
    layout = QueryLayout(subject.spec, subject.plan, subject.mode == "public", subject.mode == "public")
    encoded = stores.encode(subject.folded, POST.of)
    store = stores.IdealStore(encoded, POST.of)
    known = Public.of(layout, encoded)
    answers: dict[int, F32] = {}
    report = []
    for tokens, places in by_bucket(ids).items():
        began = time.monotonic()
        for part in _parts(places, FIXED_TOKENS // tokens):
            shape = QueryShape(subject.task, len(part), tokens)
            asked = texts.lay_out(layout, shape, [ids[i] for i in part])
            given = texts.plain(layout, shape, asked)
            seeds = prg.fresh_seed(), prg.fresh_seed()
            rows, kept = query.fixed(layout, shape, given, seeds, store, known)
            if not kept:
                raise MeasureError(f"a text of {tokens} tokens has no answer: it leaves the ranges")
            answers |= zip(part, texts.finish(layout, asked, rows), strict=True)
        report.append(_said(tokens, len(places), time.monotonic() - began))
    return np.stack([answers[i] for i in range(len(ids))]), report


def _parts(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (places[at : at + size] for at in range(0, len(places), size))


def _said(tokens: int, texts: int, seconds: float) -> dict[str, Any]:
    print(f"{tokens} tokens: {texts} texts, {seconds:.1f} s", file=sys.stderr, flush=True)
    return {"tokens": tokens, "texts": texts, "seconds": round(seconds, 2)}


def in_shares(subject: Subject, texts: Sequence[str]) -> tuple[F32, list[dict[str, Any]]]:
    """Answers of a dealer and two parties, each a process, over TLS; and what each bucket took."""
    places = by_bucket(subject.tokenizer.encode(texts))
    answers: dict[int, F32] = {}
    report = []
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as name:
        work = Path(name)
        bundle.write(subject.directory, work / "shared", subject.folded, subject.plan, subject.mode)
        with (
            LocalParties(work / "shared", work / "run") as local,
            Client(
                work / "shared" / "client", parties=local.addresses, tls=local.tls(), deadline=DEADLINE
            ) as client,
        ):
            for tokens, chosen in places.items():
                rows, usage = _ask(client, subject.task, [texts[i] for i in chosen])
                answers |= zip(chosen, rows, strict=True)
                report.append(_said(tokens, len(chosen), usage.seconds) | _costs(usage))
    return np.stack([answers[i] for i in range(len(texts))]), report


def _ask(client: Client, task: str, texts: Sequence[str]) -> tuple[F32, Usage]:
    if task == "embed":
        embedded = client.embed(texts)
        return embedded.vectors, embedded.stats
    classified = client.classify(texts)
    return classified.logits, classified.stats


def _costs(usage: Usage) -> dict[str, Any]:
    return {
        "queries": usage.queries,
        "rounds": usage.rounds,
        "online_s": round(usage.online_seconds, 3),
        "offline_s": round(usage.prepare_seconds, 3),
        "online_bytes": usage.online_bytes,
        "offline_bytes": usage.offline_bytes,
    }


def spearman(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: npt.NDArray[Any]) -> F64:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: F64 = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def fidelity(private: F32, clear: F32) -> dict[str, Any]:
    """Cosines to float32, and how far all pairwise similarities keep their order."""
    mine, theirs = private.astype(np.float64), clear.astype(np.float64)
    lengths = np.linalg.norm(mine, axis=-1) * np.linalg.norm(theirs, axis=-1)
    cosines = (mine * theirs).sum(axis=-1) / lengths
    pairs = np.triu_indices(len(mine), 1)
    order = spearman((mine @ mine.T)[pairs], (theirs @ theirs.T)[pairs])
    least, mean = float(cosines.min()), float(cosines.mean())
    met = least >= LEAST_COSINE and mean >= MEAN_COSINE and order >= LEAST_SPEARMAN
    return {"cosine_min": least, "cosine_mean": mean, "spearman": order, "pairs": len(pairs[0]), "met": met}


def spread(count: int, of: int) -> list[int]:
    """`count` places evenly over `of`."""
    return [i * of // count for i in range(min(count, of))]


def measure(directory: Path, mode: Mode, fixed: int, shares: int) -> dict[str, Any]:
    """Both parts of the comparison; 0 leaves one out."""
    texts = read_lines(SENTENCES)
    subject = Subject.load(directory, mode)
    clear = subject.clear(subject.tokenizer.encode(texts))
    result: dict[str, Any] = {
        "what": "embeddings of real sentences against float32",
        "model": directory.name,
        "weights": mode,
        "bars": {"cosine_min": LEAST_COSINE, "cosine_mean": MEAN_COSINE, "spearman": LEAST_SPEARMAN},
    }
    if fixed:
        chosen = spread(fixed, len(texts))
        rows, buckets = in_fixed(subject, subject.tokenizer.encode([texts[i] for i in chosen]))
        result["fixed"] = {"texts": len(chosen), **fidelity(rows, clear[chosen]), "buckets": buckets}
    if shares:
        chosen = spread(shares, len(texts))
        rows, buckets = in_shares(subject, [texts[i] for i in chosen])
        result["shares"] = {"texts": len(chosen), **fidelity(rows, clear[chosen]), "buckets": buckets}
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.fidelity", description=__doc__)
    parser.add_argument("--model", type=Path, help="an embedding model; default: fetch minilm")
    parser.add_argument("--fixed", type=int, default=200, help="sentences in the fixed interpreter")
    parser.add_argument("--shares", type=int, default=40, help="sentences in shares over real processes")
    parser.add_argument("--weights", choices=("private", "public"), default="private")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/fidelity-WEIGHTS.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about = machine.about()
    result = measure(given.model or fetch("minilm"), given.weights, given.fixed, given.shares)
    out = given.json or machine.RESULTS / f"fidelity-{given.weights}.json"
    machine.write(out, result | about)
    parts = {name: result[name] for name in ("fixed", "shares") if name in result}
    for name, part in parts.items():
        print(name, {key: value for key, value in part.items() if key != "buckets"})
    return 0 if all(part["met"] for part in parts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
