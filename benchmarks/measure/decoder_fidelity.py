"""Measures how close private generation comes to float32: teacher-forced and greedy, fixed interpreter and shares."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import machine
from benchmarks.workloads.decoders import FIRST, MODELS, Fixed, Subject, texts
from privinf.local import LocalParties
from privinf.models.programs import layout as form
from privinf.models.programs import rows as wire
from privinf.models.programs.rows import Rows
from privinf.models.programs.wire import add_up, split
from privinf.protocols.contract import Advance, SessionShape
from privinf.sdk.transport import Link

CLOSE = 0.05  # logits nearer than this may change places
SHARED_ROWS = 8  # of a pass in shares: each row of SmolLM2 is some 30 MB of preparation at a party
PROMPTS, GREEDY = 50, 32
WORKERS = int(os.environ.get("WORKERS", "2"))  # each holds the model several times over
_SUBJECT: dict[str, Any] = {}


def compare(ours: np.ndarray, clear: np.ndarray, following: Sequence[int]) -> dict[str, float]:
    """Sums over positions, to be added up over texts."""
    top = np.sort(clear, axis=-1)[:, -2:]
    differs = ours.argmax(-1) != clear.argmax(-1)
    return {
        "positions": len(ours),
        "differs": float(differs.sum()),
        "wide": float((differs & (top[:, 1] - top[:, 0] >= CLOSE)).sum()),
        "error": float(np.abs(ours - clear).mean(-1).sum()),
        "worst": float(np.abs(ours - clear).max()),
        "loss": _loss(ours[: len(following)], following),
        "clear_loss": _loss(clear[: len(following)], following),
        "predicted": len(following),
    }


def _loss(logits: np.ndarray, following: Sequence[int]) -> float:
    rows = torch.from_numpy(logits.astype(np.float64))
    target = torch.tensor(list(following))
    return float(torch.nn.functional.cross_entropy(rows, target, reduction="sum"))


def total(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over all positions of all texts."""

    def add(key: str) -> float:
        return sum(part[key] for part in parts)

    positions, predicted = add("positions"), add("predicted")
    ours, clear = np.exp(add("loss") / predicted), np.exp(add("clear_loss") / predicted)
    return {
        "positions": int(positions),
        "top1_agreement": 1 - add("differs") / positions,
        "top1_differs_where_logits_are_not_close": int(add("wide")),
        "logit_error_mean": add("error") / positions,
        "logit_error_max": max(part["worst"] for part in parts),
        "perplexity": float(ours),
        "perplexity_clear": float(clear),
        "perplexity_ratio": float(ours / clear),
    }


def _worker(name: str, shared: str) -> None:
    torch.set_num_threads(1)
    subject = Subject.load(name, Path(shared))
    _SUBJECT.update(subject=subject, fixed=subject.fixed())


def _forced(ids: list[int]) -> dict[str, float]:
    subject, fixed = _SUBJECT["subject"], _SUBJECT["fixed"]
    clear = subject.clear().run(torch.tensor([ids]))[0].numpy()[FIRST - 1 :]
    return compare(fixed.predictions(ids), clear, ids[FIRST:])


def _greedy(ids: list[int]) -> dict[str, Any]:
    """Tokens of both until they first differ, and how close float32's two top logits were there."""
    subject, fixed = _SUBJECT["subject"], _SUBJECT["fixed"]
    session, decoder = _prompted(fixed, ids), subject.clear()
    ours, clear = session[1], decoder.run(torch.tensor([ids]), 1)[0, -1].numpy()
    for place in range(GREEDY):
        token, theirs = int(ours.argmax()), int(clear.argmax())
        if token != theirs:
            top = np.sort(clear)[-2:]
            return {"same": place, "margin": float(top[1] - top[0])}
        if place + 1 < GREEDY:
            ours = session[0].run([token])[-1]
            clear = decoder.run(torch.tensor([[token]]), 1)[0, -1].numpy()
    return {"same": GREEDY, "margin": None}


def _prompted(fixed: Fixed, ids: list[int]) -> tuple[Any, np.ndarray]:
    session = fixed.begin(len(ids), 1)
    logits = np.zeros(0)
    for start in range(0, len(ids), form.CHUNK):
        logits = session.run(ids[start : start + form.CHUNK])
    return session, logits[-1]


def in_shares(subject: Subject, shared: Path, ids_of: Sequence[list[int]]) -> dict[str, Any]:
    """The same over three server processes with TLS: every token is sent as a draft that is always kept."""
    parts, seconds = [], 0.0
    with (
        tempfile.TemporaryDirectory() as work,
        LocalParties(shared, Path(work)) as local,
        Link(_client(local), None) as link,
    ):
        for ids in ids_of:
            began = time.monotonic()
            ours = _shared_predictions(subject, link, ids)
            seconds += time.monotonic() - began
            clear = subject.clear().run(torch.tensor([ids]))[0].numpy()[FIRST - 1 :]
            parts.append(compare(ours, clear, ids[FIRST:]))
            print(f"{len(parts)}/{len(ids_of)} in shares", file=sys.stderr)
    return total(parts) | {"seconds": seconds}


def _client(local: LocalParties) -> Any:
    from privinf.config import ClientConfig

    return ClientConfig(local.addresses, tls=local.tls(), deadline=600.0)


def _shared_predictions(subject: Subject, link: Link, ids: list[int]) -> np.ndarray:
    layout, shape = subject.layout, SessionShape("generate", FIRST, SHARED_ROWS)
    parts, place, kept = [], subject.prefix, 0
    with link.generate(shape) as passes:
        for index, start in enumerate([0, *range(FIRST, len(ids), SHARED_ROWS)]):
            count = FIRST if index == 0 else SHARED_ROWS
            piece = ids[start : start + count]
            piece += [piece[-1]] * (count - len(piece))
            rows = Rows(np.array(piece), np.arange(place, place + count), np.zeros(count, dtype=bool))
            shares = split(layout.form(shape, index), wire.values(layout, shape, index, rows))
            first, second, _ = passes.step(Advance.first(kept), shares, 600.0)
            total = add_up(layout.result(shape, index), (first, second))
            parts.append(wire.decode(layout, shape, index, total)[0])
            place, kept = place + count, count
    return np.concatenate(parts)[: len(ids) - FIRST + 1].astype(np.float32)


def measure(name: str, shared: Path, positions: int, tokens: int, shares: int, path: Path) -> dict[str, Any]:
    """All of it for one model; what the fixed interpreter says is written down before shares are begun."""
    subject = Subject.load(name, shared)
    windows = texts(subject, -(-positions // (tokens - FIRST + 1)), tokens)
    prompts = [row[: 8 + i % 25] for i, row in enumerate(texts(subject, PROMPTS, 40))]
    began = time.monotonic()
    pool = ProcessPoolExecutor(WORKERS, get_context("spawn"), _worker, (name, str(shared)))
    with pool:
        forced = []
        for part in pool.map(_forced, windows):
            forced.append(part)
            print(f"{len(forced)}/{len(windows)} windows", file=sys.stderr)
        greedy = list(pool.map(_greedy, prompts))
    fixed_seconds = time.monotonic() - began
    same = [row["same"] == GREEDY for row in greedy]
    result = {
        "benchmark": "decoder fidelity",
        "model": name,
        **machine.about(),
        "prefix_tokens": subject.prefix,
        "text": "Moby Dick" if name == "smollm2" else "sampled from the model",
        "window_tokens": tokens,
        "fixed": total(forced) | {"seconds": fixed_seconds},
        "greedy": {
            "prompts": len(same),
            "tokens": GREEDY,
            "identical": float(np.mean(same)),
            "margins_at_first_difference": [r["margin"] for r in greedy if r["margin"] is not None],
        },
    }
    machine.write(path, result)
    result["shares"] = in_shares(subject, shared, windows[: -(-shares // (tokens - FIRST + 1))])
    machine.write(path, result)
    return result


def again(name: str, shared: Path, tokens: int, shares: int, path: Path) -> None:
    """Measure in shares alone, beside what the file says of the fixed interpreter."""
    subject, result = Subject.load(name, shared), json.loads(path.read_text(encoding="utf-8"))
    windows = texts(subject, -(-shares // (tokens - FIRST + 1)), tokens)
    result["shares"] = in_shares(subject, shared, windows)
    machine.write(path, result)
    print(result["shares"])


def main() -> None:
    """Write benchmarks/results/decoder-fidelity-MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--shared", type=Path, required=True, help="where the shared model is, or is to be")
    parser.add_argument("--positions", type=int, default=50_000)
    parser.add_argument("--tokens", type=int, default=232)
    parser.add_argument("--shares", type=int, default=1_000)
    parser.add_argument("--shares-only", action="store_true", help="add them to what was measured before")
    options = parser.parse_args()
    path = machine.RESULTS / f"decoder-fidelity-{options.model}.json"
    what = options.positions, options.tokens, options.shares
    if options.shares_only:
        again(options.model, options.shared, options.tokens, options.shares, path)
        return
    result = measure(options.model, options.shared, *what, path)
    print({key: result[key] for key in ("fixed", "greedy", "shares")})


if __name__ == "__main__":
    main()
