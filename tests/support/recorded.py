"""Rounds and bytes of known shapes as they were recorded: run as a script, it writes the table anew.

Ranges are the same for every site of a kind, so that nothing is measured and the table is the same on every machine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privinf.models.orders import ORDERS, Limits
from privinf.models.programs import query
from privinf.models.programs.layout import PADDED, QueryLayout, SessionLayout
from privinf.models.programs.passes import count
from privinf.models.source.checkpoint import read_spec
from privinf.protocols.contract import QueryShape, SessionShape
from privinf.protocols.masked.counting import Counting

TABLE = Path(__file__).parents[1] / "vectors" / "costs.json"
Costs = dict[str, dict[str, list[int]]]

HIGH = {"residual": 12.0, "square": 4.0, "q": 8.0, "k": 8.0, "v": 4.0, "scores": 40.0, "attended": 4.0}
HIGH |= {"up": 8.0, "gate": 8.0, "hidden": 8.0, "result": 4.0, "pooler": 4.0, "out": 8.0}
LENGTHS, PREFIX = {"minilm": (16, 128), "mpnet": (32,), "sst2": (8, 128)}, tuple(range(7))

CONFIGS: dict[str, dict[str, Any]] = {
    "minilm": {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
    },
    "sst2": {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "hidden_size": 768,
        "num_hidden_layers": 2,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
    },
    "mpnet": {
        "model_type": "mpnet",
        "architectures": ["MPNetModel"],
        "hidden_size": 768,
        "num_hidden_layers": 2,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30527,
        "max_position_embeddings": 514,
    },
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": 2,
        "n_embd": 768,
        "n_head": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "smollm2": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 2,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "vocab_size": 49152,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
}


class Same(dict[str, float]):
    """The same magnitude at every site of a kind."""

    def __init__(self, kinds: Mapping[str, float]) -> None:
        self._kinds = kinds

    def __missing__(self, site: str) -> float:
        return self._kinds[site.rsplit(".", 1)[-1]]


@dataclass(frozen=True)
class Ranges:
    """What calibration would have seen."""

    low: Same = field(default_factory=lambda: Same({"square": 0.05}))
    high: Same = field(default_factory=lambda: Same(HIGH))


def costs(names: tuple[str, ...] = tuple(CONFIGS)) -> Costs:
    """Of each case: rounds and bytes by scope, and those of its query."""
    with tempfile.TemporaryDirectory() as folder:
        return {case: found for name in names for case, found in _of(name, Path(folder) / name)}


def _of(name: str, folder: Path) -> Iterator[tuple[str, dict[str, list[int]]]]:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]), encoding="utf-8")
    yield from _encoder(name, folder) if name in LENGTHS else _decoder(name, folder)


def _encoder(name: str, folder: Path) -> Iterator[tuple[str, dict[str, list[int]]]]:
    spec = read_spec(folder)
    plan = ORDERS[spec.order].plan(spec, Ranges(), Limits(128))
    task = spec.task
    for public in (False, True):
        layout = QueryLayout(spec, plan, public, public)
        for tokens in LENGTHS[name]:
            for batch in (1, 2):
                shape = QueryShape(task, batch, tokens)
                ctx = query.count(layout, shape)
                sizes = [*(layout.form(shape).nbytes(b) for b in (0, 1)), layout.result(shape).answer_bytes]
                yield f"{name} {_known(public)} {batch}x{tokens}", _row(ctx, sizes)


def _decoder(name: str, folder: Path) -> Iterator[tuple[str, dict[str, list[int]]]]:
    spec = read_spec(folder)
    for prefix in ((), PREFIX):
        plan = ORDERS[spec.order].plan(spec, Ranges(), Limits(160, prefix, 2.0))
        for public, embedded in ((False, False), (False, True), (True, True)):
            layout = SessionLayout(spec, plan, public, embedded)
            for task in ("generate", "argmax", f"generate{PADDED}"):
                shape = SessionShape(task, 80, 4)
                for index, ctx in enumerate(count(layout, shape, 4)):
                    sizes = [layout.form(shape, index).nbytes(b) for b in (0, 1)]
                    sizes.append(layout.result(shape, index).answer_bytes)
                    known = _known(public) if public == embedded else "embedded"
                    yield f"{name} {known} prefix {len(prefix)} {task} pass {index}", _row(ctx, sizes)


def _known(public: bool) -> str:
    return "public" if public else "private"


def _row(ctx: Counting, sizes: list[int]) -> dict[str, list[int]]:
    """Rounds, online bytes, prepared bytes of both parties and those computed ahead; of equal layers the first."""
    rows = {"query": sizes}
    for scope, cost in ctx.tally.by_scope.items():
        layer = scope.split("/")[0]
        if not layer.startswith("layer") or layer == "layer0":
            rows[scope] = [cost.rounds, cost.online, cost.prep0, cost.prep1, cost.precomputed]
    total = ctx.tally.total()
    return rows | {"total": [ctx.rounds, total.online, total.prep0, total.prep1, total.precomputed]}


if __name__ == "__main__":
    TABLE.write_text(json.dumps(costs(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
