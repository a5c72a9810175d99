"""Measures whole models through the SDK, as a user runs them: texts of a length, one or many at a time."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness.deployment import Deployment, of_model
from benchmarks.harness.ours import DEADLINE, system
from benchmarks.harness.rows import MeasureError, Row, row_of
from benchmarks.measure.fidelity import LEAST_COSINE, SENTENCES
from privinf.formats.fetch import fetch
from privinf.models.fold import fold
from privinf.models.programs import query
from privinf.models.sharing import bundle, calibrate
from privinf.models.source.checkpoint import load
from privinf.models.text.tokenizer import Tokenizer, bucket, read_lines
from privinf.protocols.contract import QueryShape
from privinf.sdk.answers import Usage
from privinf.sdk.client import Client

LEAVES_OUT = "sharing the model; tokenising and splitting the texts; the client's link, which is not shaped"


@dataclass(frozen=True)
class Shared:
    """A model as its owner shares it, and its float32 answers."""

    source: Path
    folder: Path
    spec: Any
    folded: Any

    def clear(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Float32 embeddings."""
        return calibrate.clear_answers(self.spec, self.folded, Tokenizer(self.source).encode(texts))


@cache
def shared(name: str) -> Shared:
    """Fetch and share a model once for all measurements of this process."""
    source, scratch = fetch(name), tempfile.TemporaryDirectory(prefix="privinf-bench-")
    atexit.register(scratch.cleanup)
    spec, tensors = load(source)
    folded, folder = fold(spec, tensors), Path(scratch.name) / "shared"
    ids = Tokenizer(source).encode(calibrate.default_text(), truncate=True)
    bundle.write(source, folder, folded, calibrate.calibrate(spec, folded, ids), "private")
    return Shared(source, folder, spec, folded)


def texts_of(tokenizer: Tokenizer, tokens: int, count: int) -> list[str]:
    """Different real passages, each of as many tokens as fit a length bucket."""
    words = " ".join(read_lines(SENTENCES)).split()
    return [_passage(tokenizer, words[start:] + words[:start], tokens) for start in range(0, 11 * count, 11)]


def _passage(tokenizer: Tokenizer, words: Sequence[str], tokens: int) -> str:
    for count in range(tokens - 2, 0, -1):  # two tokens are the text's ends, and no word takes less than one
        text = " ".join(words[:count])
        length = len(tokenizer.encode([text], truncate=True)[0])
        if length <= tokens:
            if bucket(length) != tokens:
                break
            return text
    raise MeasureError(f"no passage of {tokens} tokens: lengths are those of the buckets")


def measure(
    name: str, tokens: int, *, batch: int = 1, network: str = "loopback", tls: bool = True, repeat: int = 3
) -> list[Row]:
    """Ask `batch` texts of `tokens` tokens at a time, preparations made on demand; after one time to warm up."""
    model = shared(name)
    texts = texts_of(Tokenizer(model.source), tokens, batch)
    expected = model.clear(texts)
    with (
        tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder,
        Deployment(of_model(model.folder), Path(folder), network=network, tls=tls) as servers,
        Client(
            model.folder / "client",
            parties=servers.addresses,
            tls=servers.tls(),
            deadline=DEADLINE,
            insecure_no_tls=not tls or None,
        ) as client,
    ):
        answers = [client.embed(texts) for _ in range(repeat + 1)][1:]
        peaks = servers.peaks()
    error = max(_error(answer.vectors, expected) for answer in answers)
    about = {"network": network, "system": system(tls), "max_abs_error": error, "leaves_out": LEAVES_OUT}
    about |= {"workload": f"{name}-{tokens}", "tokens": tokens, "batch": batch}
    return _rows(model, [answer.stats for answer in answers], peaks, about)


def _error(private: npt.NDArray[np.float32], clear: npt.NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(private, axis=-1) * np.linalg.norm(clear, axis=-1)
    least = float(((private * clear).sum(axis=-1) / lengths).min())
    if not least >= LEAST_COSINE:
        raise MeasureError(
            f"a private embedding's cosine to float32 is {least:.5f}, less than {LEAST_COSINE}"
        )
    return float(np.abs(private - clear).max())


def _rows(model: Shared, stats: Sequence[Usage], peaks: dict[str, int], about: dict[str, Any]) -> list[Row]:
    first, parties = stats[0], max(peaks["party0"], peaks["party1"])
    return [
        row_of(
            [s.online_seconds for s in stats],
            **about,
            phase="online",
            bytes=first.online_bytes,
            rounds=first.rounds,
            peak_bytes=parties,
        ),
        row_of(
            [s.offline_seconds for s in stats],
            **about,
            phase="offline",
            bytes=first.queries * prepared(model, about["batch"] // first.queries, about["tokens"]),
            peak_bytes=peaks["dealer"],
        ),
        row_of(
            [s.seconds for s in stats],
            **about,
            phase="total",
            rounds=first.rounds,
            peak_bytes=max(peaks.values()),
        ),
    ]


def prepared(model: Shared, batch: int, tokens: int) -> int:
    """Declared preparation of party 1, the larger one, for one query."""
    about = bundle.read(model.folder / "client")
    counted = query.count(about.layout, QueryShape("embed", batch, tokens))
    return counted.tally.total().prep1
