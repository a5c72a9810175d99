"""The demo command: a real model, real words, three server processes with TLS, private beside clear."""

from __future__ import annotations

import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privinf.cli._options import refuse
from privinf.cli.output import JsonFlag, emit_json, megabytes, note, progress, stages
from privinf.options import option

if TYPE_CHECKING:
    from privinf.cli.share import Mode
    from privinf.sdk.answers import F32, Embeddings

SHOWN = 8
SENTENCES = 24


def demo(
    sentences: int | None = option(None, f"How many of the sentences to use [{SENTENCES}].", min=2, max=24),
    weights: str = option("private", "private or public."),
    generate: bool = option(False, "Show a decoder's answers instead of embeddings."),
    model: str | None = option(None, "With --generate: smollm2 or tinystories [smollm2]."),
    as_json: JsonFlag = False,
) -> None:
    """Query a real model through a dealer and two parties on this machine, and compare with the clear model."""
    from privinf.cli import demo_generate
    from privinf.cli.share import weights_mode

    mode = weights_mode(weights)
    if generate:
        refuse(() if sentences is None else ("sentences",), "embeddings, without --generate")
        demo_generate.run("smollm2" if model is None else model, mode, as_json)
    else:
        refuse(() if model is None else ("model",), "--generate")
        _embed(SENTENCES if sentences is None else sentences, mode, as_json)


def _embed(sentences: int, mode: Mode, as_json: bool) -> None:
    """Embed real sentences with all-MiniLM-L6-v2."""
    from privinf.cli.demo_generate import asking
    from privinf.formats.fetch import fetch
    from privinf.models.sharing import share

    text = resources.files("privinf").joinpath("data/demo.txt").read_text(encoding="utf-8")
    lines = text.splitlines()[:sentences]
    note("fetching all-MiniLM-L6-v2 (once)")
    source = fetch("minilm")
    note(f"sharing the model ({mode} weights)")
    clear = _clear(source, lines)
    with tempfile.TemporaryDirectory(prefix="privinf-demo-") as folder:
        with stages() as at:
            share.share(source, Path(folder) / "shared", weights=mode, tick=at.tick, stage=at.begin)
        with asking(Path(folder)) as client, progress("embedding", len(lines)) as tick:
            answer = client.embed(lines, progress=tick)
    about = {"model": client.facts.model_id, "weights": mode, "sentences": len(lines)}
    report = about | _measured(answer, (answer.vectors * clear).sum(axis=-1))
    emit_json(report) if as_json else _print(lines, report, answer.vectors, clear)


def _measured(answer: Embeddings, cosines: F32) -> dict[str, Any]:
    return {
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "seconds": answer.stats.seconds,
        "online_s": answer.stats.online_seconds,
        "offline_s": answer.stats.prepare_seconds,
        "rounds": answer.stats.rounds,
        "queries": answer.stats.queries,
        "online_bytes": answer.stats.online_bytes,
        "offline_bytes": answer.stats.offline_bytes,
    }


def _clear(source: Path, lines: list[str]) -> F32:
    from privinf.models.fold import fold
    from privinf.models.sharing.calibrate import clear_answers
    from privinf.models.source.checkpoint import load
    from privinf.models.text.tokenizer import Tokenizer

    spec, tensors = load(source)
    return clear_answers(spec, fold(spec, tensors), Tokenizer(source).encode(lines))


def _print(lines: list[str], report: dict[str, Any], vectors: F32, clear_vectors: F32) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    private, clear = vectors @ vectors.T, clear_vectors @ clear_vectors.T
    first, second = np.triu_indices(len(lines), 1)
    best = np.argsort(-clear[first, second])[:SHOWN]
    table = Table("private", "clear", "sentences", title="most similar pairs", show_lines=True)
    for pair in best:
        i, j = first[pair], second[pair]
        table.add_row(f"{private[i, j]:.4f}", f"{clear[i, j]:.4f}", f"{lines[i]}\n{lines[j]}")
    console = Console()
    console.print(table)
    console.print(
        f"{report['sentences']} sentences in {report['queries']} queries, {report['weights']} weights: "
        f"cosine to float32 at least {report['cosine_min']:.5f}, mean {report['cosine_mean']:.5f}"
    )
    console.print(
        f"online {report['online_s']:.1f} s, {report['rounds']} rounds, {megabytes(report['online_bytes'])} sent "
        f"by a party; offline {report['offline_s']:.1f} s, {megabytes(report['offline_bytes'])} to both parties"
    )
