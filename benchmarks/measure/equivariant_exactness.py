"""Measures the equivariant mode beside plain transformers: same answers, same speed, and what a conversion takes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import torch

from benchmarks.harness import machine
from benchmarks.harness.paired import paired
from benchmarks.measure.equivariant_attacks import PUBLISHED
from benchmarks.workloads.equivariant_models import (
    DECODERS,
    ENCODERS,
    F32,
    Decoder,
    Encoder,
    Ids,
    SessionDecoder,
    converted_decoder,
    converted_encoder,
    decoder_texts,
)
from privinf.equivariant.covering.noise import Noise
from privinf.equivariant.levels import LEVELS
from privinf.formats.fetch import fetch
from privinf.models.source.checkpoint import read_spec
from privinf.models.text.tokenizer import Tokenizer, read_lines

CLOSE = 1e-3  # greedy tokens may differ where the two top logits are nearer than this
PROMPT, NEW = 32, 64
BATCH = 10
WINDOW = 128  # tokens of a passage that is predicted, and of a timed pass
STEPS = 16  # tokens of a timed continuation
COMMAND = """
import sys
from pathlib import Path
from privinf.cli import main
code = main(sys.argv[1:])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""
SETTINGS: dict[
    str, tuple[str, Noise | None]
] = {  # by name: a level, and its noise where that is not the default
    **{level: (level, None) for level in LEVELS},
    "noise-published": ("noise", PUBLISHED),
}
SENTENCES = machine.ROOT / "tests" / "data" / "sentences.txt"


def greedy(model: Decoder | SessionDecoder, prompts: Ids, count: int) -> tuple[Ids, F32]:
    """Tokens (prompts, count) and the logits that they were chosen by, (prompts, count, vocab)."""
    model.begin()
    tokens, logits = [], [model.read(prompts)]
    while True:
        tokens.append(logits[-1].argmax(-1))
        if len(tokens) == count:
            return np.stack(tokens, 1), np.stack(logits, 1)
        logits.append(model.read(tokens[-1][:, None]))


def compared(plain: tuple[Ids, F32], ours: tuple[Ids, F32]) -> Iterator[dict[str, Any]]:
    """Of each prompt, where tokens first differ, by how much its two top logits did, and the error up to there."""
    for tokens, logits, other, found in zip(*plain, *ours, strict=True):
        differs = np.flatnonzero(tokens != other)
        same = int(differs[0]) if len(differs) else len(tokens)
        top = np.sort(logits, axis=-1)[:, -2:]
        margins = top[:, 1] - top[:, 0]
        yield {
            "same": same,
            "margin": float(margins[same]) if len(differs) else None,
            "narrowest": float(margins[: same + 1].min()),
            "error": float(np.abs(found - logits)[: same + 1].max()),
            "largest": float(np.abs(logits).max()),
        }


def continuations(plain: Decoder, ours: Decoder | SessionDecoder, prompts: Ids, count: int) -> dict[str, Any]:
    """Greedy tokens of both, every difference with its margin."""
    rows: list[dict[str, Any]] = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        rows += compared(greedy(plain, batch, count), greedy(ours, batch, count))
    return {
        "prompts": len(rows),
        "tokens": count,
        "identical": sum(row["same"] == count for row in rows),
        "differences": [
            {"prompt": i, "token": row["same"], "margin": row["margin"]}
            for i, row in enumerate(rows)
            if row["margin"] is not None
        ],
        "all_differences_close": all((row["margin"] or 0.0) < CLOSE for row in rows),
        "logit_error_max": max(row["error"] for row in rows),
        "logit_max": max(row["largest"] for row in rows),
        "narrowest_margin": min(row["narrowest"] for row in rows),
    }


def predictions(plain: Decoder, ours: Decoder | SessionDecoder, texts: Ids) -> dict[str, Any]:
    """Teacher-forced: how often the likeliest token is the same, and perplexities."""
    agrees, losses, error = [], [], 0.0
    for row in texts[:, None]:
        both = []
        for model in (plain, ours):
            model.begin()
            both.append(model.read(row, every=True)[0])
        agrees.append(both[0].argmax(-1) == both[1].argmax(-1))
        losses.append([_loss(logits[:-1], row[0, 1:]) for logits in both])
        error = max(error, float(np.abs(both[0] - both[1]).mean(-1).max()))
    perplexity = np.exp(np.mean(losses, axis=0))
    return {
        "positions": int(np.size(agrees)),
        "top1_agreement": float(np.mean(agrees)),
        "perplexity_plain": float(perplexity[0]),
        "perplexity": float(perplexity[1]),
        "perplexity_ratio": float(perplexity[1] / perplexity[0]),
        "mean_logit_error_max": error,
    }


def _loss(logits: F32, following: npt.NDArray[Any]) -> float:
    target = torch.from_numpy(np.asarray(following))
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), target))


def embeddings(plain: Encoder, ours: Encoder, texts: list[Ids]) -> dict[str, Any]:
    """Largest difference of an entry of embeddings of length one, and the smallest cosine."""
    both = [(plain.embed(ids), ours.embed(ids)) for ids in texts]
    cosines = [float(a @ b) for a, b in both]
    return {
        "texts": len(both),
        "difference_max": max(float(np.abs(a - b).max()) for a, b in both),
        "cosine_min": min(cosines),
        "cosine_mean": float(np.mean(cosines)),
    }


def convert(source: Path, out: Path, setting: str, threads: int) -> dict[str, float]:
    """Run the command in a process of its own."""
    level, noise = SETTINGS[setting]
    words = ["cover", str(source), "--out", str(out), "--level", level, "--json"]
    words += [f"--{name.replace('_', '-')}={value}" for name, value in asdict(noise).items()] if noise else []
    words += ["--variants", "1"] if LEVELS[level].local else []
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    size = sum(path.stat().st_size for path in (out / "server").rglob("*") if path.is_file())
    return {
        "seconds": json.loads(done.stdout)["seconds"],
        "process_seconds": time.monotonic() - began,
        "peak_bytes": 1024 * int(done.stderr.split()[-1]),
        "server_bytes": size,
    }


def decoder_speed(plain: Decoder, ours: Decoder, texts: Ids, pairs: int) -> dict[str, Any]:
    """A prompt's pass, and a continuation token by token."""

    def prompt(model: Decoder) -> None:
        model.begin()
        model.read(texts[:1])

    def continuation(model: Decoder) -> None:
        model.begin()
        model.read(texts[:1, :PROMPT])
        for place in range(STEPS):
            model.read(texts[:1, PROMPT + place : PROMPT + place + 1])

    return {
        "prompt": {"tokens": texts.shape[1]} | paired(lambda: prompt(plain), lambda: prompt(ours), pairs),
        "continuation": {"prompt_tokens": PROMPT, "tokens": STEPS}
        | paired(lambda: continuation(plain), lambda: continuation(ours), pairs),
    }


def measure_decoder(name: str, level: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one level of a decoder."""
    source = fetch(name)
    plain, ours = Decoder(source), converted_decoder(out, level)
    prompts = decoder_texts(name, source, plain, options.prompts, PROMPT)
    texts = decoder_texts(name, source, plain, options.passages, WINDOW)
    result = {
        "greedy": continuations(plain, ours, prompts, options.tokens),
        "predictions": predictions(plain, ours, texts),
    }
    if isinstance(ours, Decoder) and not LEVELS[level].noisy and options.pairs:
        result["speed"] = decoder_speed(plain, ours, texts, options.pairs)
    return result


def measure_encoder(name: str, level: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one level of an encoder."""
    source = fetch(name)
    plain, ours = Encoder(source), converted_encoder(out, level)
    lines = read_lines(SENTENCES)[: options.sentences]
    texts = [ids.astype(np.int64) for ids in Tokenizer(source).encode(lines)]
    result: dict[str, Any] = {"embeddings": embeddings(plain, ours, texts)}
    if not (LEVELS[level].local or LEVELS[level].noisy) and options.pairs:
        rules = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
        rules.no_truncation(), rules.no_padding()
        ids = np.array(rules.encode(" ".join(lines)).ids[:WINDOW])
        timed = paired(lambda: plain.rows(ids), lambda: ours.rows(ids), options.pairs)
        result["speed"] = {"text": {"tokens": len(ids)} | timed}
    return result


def measure(name: str, options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """One model in every setting asked for, written down after each; those not asked for keep what they had."""
    mark = machine.about()
    result: dict[str, Any] = {
        "benchmark": "equivariant exactness",
        "model": name,
        **mark,
        "threads": options.threads,
        "text": "tests/data/sentences.txt" if name in ENCODERS else _text(name),
        "levels": _before(path) if options.level else {},
    }
    run = measure_encoder if name in ENCODERS else measure_decoder
    for setting in options.level or _settings(name):
        with tempfile.TemporaryDirectory() as work:
            out = Path(work) / "out"
            row: dict[str, Any] = {"conversion": convert(fetch(name), out, setting, options.threads)}
            row |= run(name, SETTINGS[setting][0], out, options) | {"measured": _mark(mark)}
        result["levels"][setting] = row
        machine.write(path, result)
        print(json.dumps({setting: row}), file=sys.stderr)
    return result


def _settings(name: str) -> list[str]:
    """Key matrices are Llama's alone, and the published setting with them."""
    gated = read_spec(fetch(name)).task == "generate" and read_spec(fetch(name)).family == "llama"
    return [setting for setting, (_, noise) in SETTINGS.items() if gated or noise is None]


def _before(path: Path) -> dict[str, Any]:
    """Rows of before, each with its own mark of when and of what it was measured."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    return {setting: {"measured": _mark(before)} | row for setting, row in before["levels"].items()}


def _mark(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: about[name] for name in ("date", "commit", "versions")}


def _text(name: str) -> str:
    return "Moby Dick" if name == "smollm2" else "sampled from the model"


def main() -> None:
    """Write benchmarks/results/equivariant-exactness-MODEL.json, or elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=(*ENCODERS, *DECODERS))
    parser.add_argument(
        "--level", action="append", choices=list(SETTINGS), help="all that there are if left out; repeat"
    )
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=NEW)
    parser.add_argument("--passages", type=int, default=40, help=f"of {WINDOW} tokens, teacher-forced")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument(
        "--pairs", type=int, default=60, help="timed in turn with the plain model; 0 for none"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.out or machine.RESULTS / f"equivariant-exactness-{options.model}.json"
    measure(options.model, options, path)


if __name__ == "__main__":
    main()
