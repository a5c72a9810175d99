"""Tiny random decoders, and generations with all roles in one process beside the fixed interpreter, under one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Queue
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import specs

from privinf.drafts.speculation import Tree
from privinf.models.engines.stores import DealerStore, IdealStore, PartyStore, encode, mask_tensor
from privinf.models.fold import F32, F64, fold
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import PRE
from privinf.models.programs import rows as wire
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.passes import FixedSession
from privinf.models.programs.public import Public
from privinf.models.programs.rows import Rows
from privinf.models.programs.session import DealerGeneration, PartyGeneration
from privinf.models.programs.wire import add_up, split
from privinf.models.sharing.calibrate import calibrate_decoder
from privinf.models.spec import Generator, ModelSpec
from privinf.protocols import ring
from privinf.protocols.contract import ALL, Advance, Order, SessionShape
from privinf.protocols.ring import U64, Shape
from privinf.protocols.testing.lockstep import Loop, Tape

SHARING = "sharing"
PREPARATION = b"a preparation id"
PREFIX = (1, 7, 9)
Kind = Literal["gpt2", "llama"]
Journal = list[tuple[int, str]]
HEAD = Generator(True, 1, (2,))
GPT2 = specs.gpt2(2, 16, 4, 24, 37, 48, HEAD)
LLAMA = specs.llama(2, 16, (4, 2, 6), 24, 37, 48, HEAD)
SPECS: dict[Kind, ModelSpec] = {"gpt2": GPT2, "llama": LLAMA}
KINDS = tuple(SPECS)
# Whether weights are public, and embeddings
MODES = {"private": (False, False), "embedded": (False, True), "public": (True, True)}
Toys = dict[tuple[Kind, bool], "Toy"]  # without a prefix and with one


def random_weights(spec: ModelSpec, seed: int = 5) -> dict[str, F32]:
    """Tensors under our names, of sizes with which attention is neither flat nor sharp."""
    rng, out = np.random.default_rng(seed), {}
    inner, keys = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
    out["embed.token"] = rng.normal(0, 0.5, (spec.vocab, spec.width))
    if spec.rotary is None:
        out["embed.position"] = rng.normal(0, 0.3, (spec.max_tokens, spec.width))
    linear = {"attn.q": (spec.width, inner), "attn.k": (spec.width, keys), "attn.v": (spec.width, keys)}
    linear |= {"attn.out": (inner, spec.width), "ffn.up": (spec.width, spec.ffn)}
    linear |= {"ffn.down": (spec.ffn, spec.width)} | (
        {"ffn.gate": (spec.width, spec.ffn)} if spec.gated else {}
    )
    for i in range(spec.layers):
        for name, shape in linear.items():
            out[f"layer{i}.{name}.weight"] = rng.normal(0, 1.2 / np.sqrt(shape[0]), shape)
            if spec.biases:
                out[f"layer{i}.{name}.bias"] = rng.normal(0, 0.1, shape[1])
    for norm in ("head", *(f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn"))):
        out[f"{norm}.norm.gain"] = rng.uniform(0.6, 1.4, spec.width)
        if spec.biases:
            out[f"{norm}.norm.bias"] = rng.normal(0, 0.1, spec.width)
    out["head.weight"] = out["embed.token"].T
    return {name: value.astype(np.float32) for name, value in out.items()}


def pass_shares(layout: SessionLayout, shape: SessionShape, index: int, rows: Rows) -> tuple[bytes, bytes]:
    """Both parties' shares of a pass's query."""
    return split(layout.form(shape, index), wire.values(layout, shape, index, rows))


@dataclass(frozen=True)
class Toy:
    """A decoder that is ready to be shared, its prefix's tensors among the weights."""

    spec: ModelSpec
    plan: Plan
    weights: Mapping[str, F64]

    def layout(self, public: bool = False, embedded: bool = False) -> SessionLayout:
        return SessionLayout(self.spec, self.plan, public, embedded)

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: value.shape for name, value in self.weights.items()}

    def clear(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits (tokens, vocab) of the clear interpreter, whose prefix goes before the ids."""
        import torch

        from privinf.models.clear import ClearDecoder

        given = torch.tensor([[*self.plan.prefix, *ids]])
        logits: npt.NDArray[np.float32] = (
            ClearDecoder(self.spec, self.weights).run(given, len(ids))[0].numpy()
        )
        return logits


def toy(spec: ModelSpec, prefix: Sequence[int] = PREFIX, max_tokens: int = 40) -> Toy:
    """A random decoder, calibrated on random texts."""
    folded, rng = fold(spec, random_weights(spec)), np.random.default_rng(1)
    ids = [rng.integers(0, spec.vocab, size).astype(np.int32) for size in (5, 9, 20, 33)]
    plan, tensors = calibrate_decoder(spec, folded, ids, prefix, max_tokens)
    return Toy(spec, plan, folded | tensors)


def seeds(number: int) -> tuple[bytes, bytes]:
    """Both parties' seeds of a pass: all different, and the same in every run of the tests."""
    first, second = (hashlib.blake2b(f"{number}/{b}".encode(), digest_size=32).digest() for b in (0, 1))
    return first, second


@dataclass
class Writer:
    """What a client keeps of a session: which tokens stand, and how far the prompt's padding moves them."""

    toy: Toy
    shape: SessionShape
    seen: list[int]

    def __post_init__(self) -> None:
        self.moved = self.shape.prompt - len(self.seen)

    def prompt(self, index: int) -> Rows:
        """The rows of one pass over the prompt; padding repeats the first token."""
        first, size = len(self.toy.plan.prefix), self.toy.layout().chunk(self.shape)
        chunk = slice(index * size, (index + 1) * size)
        ids = np.array([self.seen[0]] * self.moved + self.seen, dtype=np.int64)[: self.shape.prompt]
        places = np.maximum(np.arange(len(ids)) - self.moved, 0) + first
        return Rows(ids[chunk], places[chunk], (np.arange(len(ids)) < self.moved)[chunk], self.moved)

    def rows(self, ids: Sequence[int], after: Sequence[int] | None = None) -> Rows:
        """The rows of a later pass: what follows all that stands, each behind the row that `after` says."""
        first = len(self.toy.plan.prefix) + len(self.seen)
        above = range(len(ids) - 1) if after is None else after
        places = first + np.array(Tree(tuple(ids[1:]), tuple(above)).places(), dtype=np.int64)
        return Rows(np.array(ids, dtype=np.int64), places, np.zeros(len(ids), dtype=bool), self.moved)


@dataclass
class Trio:
    """Dealer and both parties of one session, and the fixed interpreter; passes are prepared as far ahead as asked."""

    layout: SessionLayout
    shape: SessionShape
    weights: Mapping[str, F64]
    names: tuple[Journal, Journal] = field(default_factory=lambda: ([], []))  # of openings, and their passes
    orders: list[Order] = field(default_factory=list)
    prepared: list[tuple[int, int]] = field(default_factory=list)  # bytes of each pass

    def __post_init__(self) -> None:
        layout, shape = self.layout, self.shape
        encoded = encode(self.weights, PRE.of)
        public = Public.of(layout, encoded)
        self.fixed = FixedSession(layout, shape, IdealStore(encoded, PRE.of), encoded)
        own = seeds(-1)
        opened = {name: mask_tensor(v, own, SHARING, name) for name, v in encoded.items()}
        masks = None if layout.public else DealerStore(layout.masked, own, SHARING, PRE.of)
        self.dealer = DealerGeneration(layout, shape, masks)
        stores = [None if layout.public else PartyStore(opened, seed, SHARING, PRE.of) for seed in own]
        self.parties = [PartyGeneration(layout, shape, b, stores[b], public) for b in (0, 1)]
        for party, names in zip(self.parties, self.names, strict=True):
            party.journal = self._journal(names)
        queues: tuple[Queue[bytes], Queue[bytes]] = (Queue(), Queue())
        self.ends = Loop(0, queues[0], queues[1], None), Loop(1, queues[1], queues[0], None)
        self._ahead: list[tuple[tuple[bytes, bytes], list[Any]]] = []

    def _journal(self, names: Journal) -> Callable[[str], None]:
        return lambda name: names.append((self.fixed.ledger.index, name))

    def prepare(self) -> None:
        """Deal and prepare one more pass than there are."""
        order = self.parties[0].order()
        fresh = seeds(len(self.orders))
        tapes: tuple[list[bytes], list[bytes]] = ([], [])
        for to, data in self.dealer.deal(order, PREPARATION, fresh):
            for party in (0, 1) if to == ALL else (to,):
                tapes[party].append(bytes(data))
        prepared = []
        for b in (0, 1):
            tape = Tape(tapes[b])
            intake = self.parties[b].prepare(order, PREPARATION, fresh[b])
            intake.fill(tape, 1)
            prepared.append(intake)
            assert tape.left == 0
        self.orders.append(order)
        self.prepared.append((sum(map(len, tapes[0])), sum(map(len, tapes[1]))))
        self._ahead.append((fresh, prepared))

    def step(self, kept: int | Advance, rows: Rows) -> tuple[U64, U64 | None]:
        """The sum of the parties' answers of the next pass, and what the fixed interpreter gives."""
        advance = kept if isinstance(kept, Advance) else Advance.first(kept)
        if not self._ahead:
            self.prepare()
        fresh, prepared = self._ahead.pop(0)
        index = self.fixed.ledger.index
        queries = pass_shares(self.layout, self.shape, index, rows)
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(party.evaluate, advance, memoryview(query), ready, end)
                for party, query, ready, end in zip(self.parties, queries, prepared, self.ends, strict=True)
            ]
            parts = [run.result(120) for run in runs]
        for b, (part, query) in enumerate(zip(parts, queries, strict=True)):
            assert len(query) == self.parties[b].query_bytes(index)
            assert len(part) == self.parties[b].result_bytes(index)
        field_ = self.layout.result(self.shape, index)
        self.parts = parts[0], parts[1]
        total = add_up(field_, parts) if field_.nbytes else np.zeros(field_.shape, np.uint64)
        retired = prepared[0].order.retired
        fixed = self.fixed.run(advance, rows, fresh, retired)
        return ring.low(np.asarray(total, dtype=np.uint64), field_.bits), fixed


def both_kinds() -> Toys:
    """Toys of both kinds, without a prefix and with one."""
    return {
        (kind, given): toy(SPECS[kind], PREFIX if given else ()) for kind in KINDS for given in (False, True)
    }
