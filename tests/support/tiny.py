"""A tiny random BERT or MPNet in a Hugging Face directory, shared among three roles of one process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tokenizers
from safetensors.numpy import save_file
from tokenizers import models, normalizers, pre_tokenizers, processors

from privinf.models.engines.stores import IdealStore, encode
from privinf.models.fold import F64, fold
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import POST
from privinf.models.programs import query, texts
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.public import Public
from privinf.models.programs.texts import Ids
from privinf.models.programs.wire import Asked, add_up, split
from privinf.models.sharing import bundle, calibrate
from privinf.models.source.checkpoint import load
from privinf.models.spec import ModelSpec
from privinf.models.text.tokenizer import Tokenizer
from privinf.protocols.contract import ALL, DealerQueries, PartyProgram, PartyQueries, QueryShape, Stock
from privinf.protocols.testing import lockstep

F32 = npt.NDArray[np.float32]
Task = Literal["embed", "classify"]

LAYERS, WIDTH, HEADS, FFN, MAX_TOKENS = 2, 32, 4, 64, 64
Family = Literal["bert", "mpnet"]
PREPARATION = b"a preparation id"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COMMON = """
the of and to in is was for on are with his they at be this have from or one
had by but not what all were we when your can said there use an each which she do how
"""
WORDS = tuple(COMMON.split())
VOCAB = (*SPECIALS, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS))
NAMES = {
    "bert": {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "out": "attention.output.dense",
        "norm": "attention.output.LayerNorm",
        "pooler": "pooler.dense",
        "head": "classifier",
    },
    "mpnet": {
        "q": "attention.attn.q",
        "k": "attention.attn.k",
        "v": "attention.attn.v",
        "out": "attention.attn.o",
        "norm": "attention.LayerNorm",
        "pooler": "classifier.dense",
        "head": "classifier.out_proj",
    },
}
CLASSES = {
    "bert": {"embed": "BertModel", "classify": "BertForSequenceClassification"},
    "mpnet": {"embed": "MPNetModel", "classify": "MPNetForSequenceClassification"},
}
FIRST = {"bert": 0, "mpnet": 2}  # row of the first token's position
OUTLIERS = (5, 21)  # columns whose values dwarf the others', as in every trained BERT


def write_model(directory: Path, task: Task, seed: int = 7, family: Family = "bert") -> Path:
    """Write configuration, tokenizer and weights; classifiers name three labels, embedders pool by the mean."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    classifies = task == "classify"
    config: dict[str, Any] = {
        "model_type": family,
        "architectures": [CLASSES[family][task]],
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": FFN,
        "vocab_size": len(VOCAB),
        "max_position_embeddings": MAX_TOKENS + FIRST[family],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    config |= {"type_vocab_size": 2} if family == "bert" else {"relative_attention_num_buckets": 32}
    if classifies:
        config["id2label"] = {str(i): name for i, name in enumerate(("down", "level", "up"))}
    else:
        _write_modules(directory)
    (directory / "config.json").write_text(json.dumps(config))
    _write_tokenizer(directory, family)
    save_file(_weights(rng, classifies, family), directory / "model.safetensors")
    return directory


def sentences(count: int, words: int = 9, seed: int = 1) -> list[str]:
    """Draw sentences of one to `words` words that the tokenizer knows."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, words, endpoint=True))) for _ in range(count)]


def _write_modules(directory: Path) -> None:
    kinds = ("Transformer", "Pooling", "Normalize")
    steps = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(steps))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def _write_tokenizer(directory: Path, family: Family) -> None:
    ids = {token: index for index, token in enumerate(VOCAB)}
    if family == "mpnet":  # whose padding is token 1
        ids["[PAD]"], ids["[UNK]"] = 1, 0
    rules = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    rules.normalizer = normalizers.BertNormalizer()
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    rules.add_special_tokens(list(SPECIALS))
    rules.save(str(directory / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_TOKENS}
    (directory / "tokenizer_config.json").write_text(json.dumps(about))


def _weights(rng: np.random.Generator, classifies: bool, family: Family) -> dict[str, F32]:
    """Tensors under the names that transformers gives them."""
    out: dict[str, F32] = {}
    names = NAMES[family]

    def put(name: str, value: F64) -> None:
        out[name] = value.astype(np.float32)

    def linear(name: str, outputs: int, inputs: int, size: float) -> None:
        put(f"{name}.weight", rng.normal(0, size / np.sqrt(inputs), (outputs, inputs)))
        put(f"{name}.bias", rng.normal(0, 0.1, outputs))

    def norm(name: str) -> None:
        gain, bias = rng.uniform(0.6, 1.1, WIDTH), rng.normal(0, 0.1, WIDTH)
        gain[OUTLIERS[0]], gain[OUTLIERS[1]], bias[OUTLIERS[1]] = 0.1, 2.5, -1.5
        put(f"{name}.weight", gain)
        put(f"{name}.bias", bias)

    tables = {"word": len(VOCAB), "position": MAX_TOKENS + FIRST[family]}
    if family == "bert":
        tables["token_type"] = 2
    for name, rows in tables.items():
        table = rng.normal(0, 0.05, (rows, WIDTH))
        table[:, OUTLIERS[0]] += 0.3
        put(f"embeddings.{name}_embeddings.weight", table)
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for part in "qkv":
            linear(f"{layer}.{names[part]}", WIDTH, WIDTH, 1.2)
        linear(f"{layer}.{names['out']}", WIDTH, WIDTH, 0.8)
        norm(f"{layer}.{names['norm']}")
        linear(f"{layer}.intermediate.dense", FFN, WIDTH, 1.0)
        linear(f"{layer}.output.dense", WIDTH, FFN, 1.0)
        out[f"{layer}.output.dense.bias"][OUTLIERS[1]] = 6.0
        norm(f"{layer}.output.LayerNorm")
    if classifies:
        linear(names["pooler"], WIDTH, WIDTH, 1.0)
        linear(names["head"], 3, WIDTH, 1.0)
    if family == "mpnet":
        put("encoder.relative_attention_bias.weight", rng.normal(0, 3.0, (32, HEADS)))
    prefix = f"{family}." if classifies else ""
    return {n if n.startswith("classifier") else f"{prefix}{n}": w for n, w in out.items()}


@dataclass(frozen=True)
class Tiny:
    """A written model: what it is, its folded weights, its tokenizer and its plan."""

    directory: Path
    spec: ModelSpec
    folded: Mapping[str, F64]
    tokenizer: Tokenizer
    plan: Plan

    @property
    def task(self) -> Task:
        return self.spec.task

    def share(self, out: Path, mode: bundle.Mode) -> Shared:
        """Share the model among the roles' directories under `out`."""
        bundle.write(self.directory, out, self.folded, self.plan, mode)
        return Shared(*roles(out), tiny=self)


def load_tiny(directory: Path) -> Tiny:
    """Read, fold and calibrate a written model."""
    spec, weights = load(directory)
    folded, tokenizer = fold(spec, weights), Tokenizer(directory)
    return Tiny(
        directory, spec, folded, tokenizer, calibrate.calibrate(spec, folded, tokenizer.encode(sentences(64)))
    )


@dataclass(frozen=True)
class Session:
    """What one query came to: shares of its answer, and what went over each wire."""

    shares: tuple[bytes, bytes]
    transcripts: tuple[list[bytes], list[bytes]]
    prepared: tuple[int, int]
    unread: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Answer(Session):
    """The same, added up."""

    rows: F32


Prepared = tuple[tuple[list[bytes], list[bytes]], list[memoryview]]


def queries(made: PartyProgram) -> PartyQueries:
    """Return the part of a program that answers queries."""
    assert made.queries is not None
    return made.queries


@dataclass(frozen=True)
class Roles:
    """The roles of a shared model in one process."""

    client: bundle.Bundle[QueryLayout]
    dealer: DealerQueries
    parties: tuple[PartyQueries, ...]
    dealt: dict[tuple[QueryShape, bytes, bytes], Prepared] = field(default_factory=dict)

    def _prepared(self, shape: QueryShape, seeds: tuple[bytes, bytes]) -> Prepared:
        """Both halves of a preparation and what is computed ahead: the same again for the same seeds."""
        if (shape, *seeds) not in self.dealt:
            tapes: tuple[list[bytes], list[bytes]] = ([], [])
            for to, data in self.dealer.deal(shape, PREPARATION, seeds):
                for b in (0, 1) if to == ALL else (to,):
                    tapes[b].append(bytes(data))
            rooms = [memoryview(bytearray(party.stock_sizes(shape).precomputed)) for party in self.parties]
            for party, tape, room, seed in zip(self.parties, tapes, rooms, seeds, strict=True):
                party.prepare(shape, lockstep.Tape(tape), seed, room)
            self.dealt[shape, *seeds] = tapes, rooms
        return self.dealt[shape, *seeds]

    def exchange(self, shape: QueryShape, parts: tuple[bytes, bytes], seeds: tuple[bytes, bytes]) -> Session:
        """Evaluate both parties' shares of a query as they are, on what is dealt from these seeds."""
        tapes, rooms = self._prepared(shape, seeds)
        sources = [lockstep.Tape(tape) for tape in tapes]
        boxes: tuple[Queue[bytes], Queue[bytes]] = (Queue(), Queue())
        ends: list[Any] = [lockstep.Loop(b, boxes[b], boxes[1 - b], None) for b in (0, 1)]
        stocks = [Stock(PREPARATION, seeds[b], sources[b], rooms[b]) for b in (0, 1)]
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(self.parties[b].evaluate, shape, memoryview(parts[b]), stocks[b], ends[b])
                for b in (0, 1)
            ]
            results = [run.result(lockstep.TIMEOUT) for run in runs]
        return Session(
            (results[0], results[1]),
            (ends[0].transcript, ends[1].transcript),
            (sum(map(len, tapes[0])), sum(map(len, tapes[1]))),
            (sources[0].left, sources[1].left),
        )


def roles(out: Path) -> tuple[bundle.Bundle[QueryLayout], DealerQueries, tuple[PartyQueries, ...]]:
    """Each role's part of what was shared."""
    parties = tuple(queries(bundle.party_program(out / f"party{b}", b)) for b in (0, 1))
    dealer = bundle.dealer_program(out / "dealer").queries
    assert dealer is not None
    return bundle.read_queries(out / "client"), dealer, parties


@dataclass(frozen=True)
class Shared(Roles):
    """A shared model in one process."""

    tiny: Tiny = field(kw_only=True)

    def rows(self, shape: QueryShape, ids: Sequence[Ids]) -> texts.Rows:
        """Return what the client asks."""
        return texts.lay_out(self.client.layout, shape, ids)

    def fixed(self, shape: QueryShape, ids: Sequence[Ids], seeds: tuple[bytes, bytes]) -> F32:
        """Return the fixed interpreter's answer under the same seeds."""
        return self.fixed_rows(shape, self.rows(shape, ids), seeds)

    def fixed_rows(self, shape: QueryShape, rows: texts.Rows, seeds: tuple[bytes, bytes]) -> F32:
        """Return the same of any rows."""
        layout = self.client.layout
        given = texts.plain(layout, shape, rows)
        return texts.finish(layout, rows, self._fixed(shape, given, seeds))

    def _fixed(self, shape: QueryShape, given: Asked, seeds: tuple[bytes, bytes]) -> F64:
        layout, encoded = self.client.layout, encode(self.tiny.folded, POST.of)
        store = IdealStore(encoded, POST.of)
        return query.fixed(layout, shape, given, seeds, store, Public.of(layout, encoded))[0]

    def ask(self, shape: QueryShape, ids: Sequence[Ids], seeds: tuple[bytes, bytes]) -> Answer:
        """Deal, evaluate at both parties, and add up."""
        rows = self.rows(shape, ids)
        layout = self.client.layout
        session = self.exchange(shape, split(layout.form(shape), rows.values), seeds)
        values = texts.decode(layout, shape, rows, add_up(layout.result(shape), session.shares))
        return Answer(**vars(session), rows=values)
