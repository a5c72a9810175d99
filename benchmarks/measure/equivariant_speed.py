"""Covered models against plain ones behind the same server, in turn: seconds, operators, and bytes on the wire."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import machine
from privinf.config import EquivariantConfig
from privinf.equivariant import variants
from privinf.equivariant.about import digest, read_about
from privinf.equivariant.covering.convert import convert
from privinf.equivariant.key import Key
from privinf.equivariant.serving import running
from privinf.equivariant.serving.server import Server
from privinf.formats import fetch
from privinf.models.sharing.calibrate import default_text
from privinf.models.sharing.folder import copy
from privinf.models.text.prompts import DecoderTokenizer
from privinf.sdk.client import Client

OUT = machine.RESULTS / "equivariant-speed.json"
MODELS = ("minilm", "tinystories", "smollm2")
LEVELS = ("tokens", "cover", "noise", "session")
COUNTED = (
    "Client and server are threads of one process and speak over gRPC on loopback without TLS. One turn asks the "
    "plain model and the covered one the same, in changing order; both are loaded anew every round. seconds: of a "
    "continuation, from the first token to the last, for each after the first; of an encoder, for all sentences. "
    "first_s: from the question to the first token, at level session with loading a variant. ratio: covered by plain, "
    "the median over turns, with a bootstrap interval of 95 % that draws rounds, and turns within them; cpu_ratio: "
    "the same of this process's CPU seconds, which work beside it on the machine changes less."
)
DRAWS = 4000
Result = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How much is measured."""

    rounds: int
    turns: int
    tokens: int
    prompt: int
    sentences: int


@dataclass(frozen=True)
class Turn:
    """What one question took."""

    seconds: float
    cpu: float
    first: float = 0.0
    sent: int = 0
    received: int = 0


def uncovered(model: Path, like: Path, out: Path) -> None:
    """The plain model as a client's and a server's directory, under the key that changes nothing."""
    about = replace(Key.load(like / "client").about, id="0" * 32, level="tokens")
    about = replace(about, server_width=about.width)
    shutil.copytree(
        like / "client", out / "client", ignore=shutil.ignore_patterns("key.*", "local.*", "variants")
    )
    Key(about, tokens=np.arange(about.vocab)).save(out / "client")
    for name in ("config.json", "model.safetensors"):
        copy(model / name, out / "server" / name)
    weights = out / "server" / "model.safetensors"
    said = {
        name: getattr(about, name) for name in ("id", "level", "family", "task", "width", "vocab", "context")
    }
    (out / "server" / "about.json").write_text(
        json.dumps({"format": 1, **said, "model_sha256": digest(weights)})
    )


class Operators(TorchDispatchMode):
    """Counts the operators that run, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operators(server: Path, ids: Sequence[int]) -> tuple[Counter[str], int]:
    """Of one pass over a text, or of a prompt and one token more; and its floating-point operations."""
    about = read_about(server)
    model = running.load_model(server, about)
    with Operators() as seen, FlopCounterMode(display=False) as flops:
        if about.task == "generate":
            sequence = running.CachedSequence(model)
            sequence.read_ids(np.array(ids))
            sequence.read_ids(np.array(ids[:1]))
        else:
            running.embed(model, [np.array(ids)], "mean")
    return seen.seen, flops.get_total_flops()


@contextmanager
def asked(folder: Path, threads: int) -> Iterator[Any]:
    """A client of a server in this process."""
    config = EquivariantConfig(insecure_no_tls=True, threads=threads)
    with Server(folder / "server", config) as server:
        at = f"127.0.0.1:{server.port}"
        with Client(folder / "client", mode="equivariant", server=at, insecure_no_tls=True) as client:
            yield client


def generated(client: Any, prompt: Sequence[int], tokens: int) -> Turn:
    """One continuation of exactly so many tokens."""
    _renew(client)
    client._backend._side.eos = ()  # both are to write as much, whatever ends a text
    began = time.perf_counter()
    stream = client.stream(prompt, max_new_tokens=tokens)
    next(stream)
    first, cpu = time.perf_counter(), time.process_time()
    for _ in stream:
        pass
    seconds, stats = time.perf_counter() - first, stream.completion.stats
    each = max(tokens - 1, 1)
    spent = (time.process_time() - cpu) / each
    return Turn(seconds / each, spent, first - began, stats.query_bytes, stats.result_bytes)


def embedded(client: Any, texts: Sequence[str]) -> Turn:
    """All sentences once."""
    _renew(client)
    cpu, began = time.process_time(), time.perf_counter()
    stats = client.embed(texts).stats
    seconds = time.perf_counter() - began
    return Turn(seconds, time.process_time() - cpu, 0.0, stats.query_bytes, stats.result_bytes)


def _renew(client: Any) -> None:
    """Let variants be used again: what is measured here is nobody's secret."""
    if client.sessions_left is not None:
        server = client._backend._folder.parent / "server"
        for folder in (*variants.all_variants(client._backend._folder), *variants.all_variants(server)):
            (folder / variants.MARK).unlink(missing_ok=True)


def measured(plain: Path, covered: Path, ask: Callable[[Any], Turn], pace: Pace, threads: int) -> Result:
    """Rounds of turns, in changing order."""
    rounds: list[list[tuple[Turn, Turn]]] = []
    for _ in range(pace.rounds):
        with asked(plain, threads) as first, asked(covered, threads) as second:
            ask(first), ask(second)  # warms up
            turns = []
            for turn in range(pace.turns):
                pair = (ask(first), ask(second)) if turn % 2 else (ask(second), ask(first))[::-1]
                turns.append(pair)
            rounds.append(turns)
    return summary(rounds)


def summary(rounds: Sequence[Sequence[tuple[Turn, Turn]]]) -> Result:
    """Medians, and ratios with their intervals."""
    flat = [pair for turns in rounds for pair in turns]
    result: Result = {"rounds": len(rounds), "turns": len(flat)}
    for place, name in enumerate(("plain", "covered")):
        turns = [pair[place] for pair in flat]
        result[name] = {
            "seconds": float(np.median([turn.seconds for turn in turns])),
            "cpu_seconds": float(np.median([turn.cpu for turn in turns])),
            "first_s": float(np.median([turn.first for turn in turns])),
            "sent_bytes": turns[0].sent,
            "received_bytes": turns[0].received,
        }
    for name, field in (("ratio", "seconds"), ("cpu_ratio", "cpu")):
        logs = [np.log([getattr(b, field) / getattr(a, field) for a, b in turns]) for turns in rounds]
        result[name] = interval(logs)
    return result


def interval(logs: Sequence[np.ndarray], seed: int = 0) -> Result:
    """The median ratio, and the middle 95 % of those of samples drawn anew: rounds first, then turns within them."""
    draw = np.random.default_rng(seed)
    medians = []
    for _ in range(DRAWS):
        picked = [logs[i] for i in draw.integers(len(logs), size=len(logs))]
        medians.append(np.median(np.concatenate([draw.choice(one, size=len(one)) for one in picked])))
    low, high = np.exp(np.quantile(medians, (0.025, 0.975)))
    return {"median": float(np.exp(np.median(np.concatenate(logs)))), "low": float(low), "high": float(high)}


def measure(name: str, levels: Sequence[str], pace: Pace, threads: int, work: Path) -> list[Result]:
    """One model at every level."""
    model, rows = fetch.fetch(name), []
    plain = work / name / "plain"
    for level in levels:
        covered = work / name / level
        began = time.perf_counter()
        convert(model, covered, level, variants=1)
        row: Result = {"model": name, "level": level, "convert_s": round(time.perf_counter() - began, 2)}
        if not plain.exists():
            uncovered(model, covered, plain)
        row |= _compared(plain, covered, pace) if level != "session" else {}
        row |= measured(plain, covered, _question(plain, pace), pace, threads)
        rows.append(row)
        print(json.dumps(row), flush=True)
        shutil.rmtree(covered)
    return rows


def _question(plain: Path, pace: Pace) -> Callable[[Any], Turn]:
    if Key.load(plain / "client").about.task == "embed":
        texts = _sentences(pace.sentences)
        return lambda client: embedded(client, texts)
    prompt = _prompt(plain, pace.prompt)
    return lambda client: generated(client, prompt, pace.tokens)


def _compared(plain: Path, covered: Path, pace: Pace) -> Result:
    """Whether both run the same operators."""
    ids = _prompt(plain, pace.prompt)
    (ours, flops), (theirs, others) = operators(covered / "server", ids), operators(plain / "server", ids)
    return {"same_operators": ours == theirs, "flops": flops, "plain_flops": others}


def _sentences(count: int) -> list[str]:
    """Public prose."""
    return [line for line in default_text() if 40 < len(line) < 200][:count]


def _prompt(plain: Path, tokens: int) -> list[int]:
    vocab = Key.load(plain / "client").about.vocab
    return DecoderTokenizer(plain / "client", vocab).encode(" ".join(_sentences(40)))[:tokens]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--level", action="append", choices=LEVELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=12, help="of each round")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    pace = Pace(given.rounds, given.turns, given.tokens, given.prompt, given.sentences)
    torch.set_num_threads(given.threads)
    about, rows = machine.about(), list[Result]()
    with tempfile.TemporaryDirectory() as work:
        for name in given.model or MODELS:
            rows += measure(name, given.level or LEVELS, pace, given.threads, Path(work))
    result = {"title": "equivariant mode: covered against plain", "counted": COUNTED, **about}
    machine.write(given.out, {**result, "threads": given.threads, "pace": vars(pace), "rows": rows})


if __name__ == "__main__":
    main()
