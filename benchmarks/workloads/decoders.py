"""Decoders as the benchmarks take them: shared as a user shares them, with texts and prompts to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from privinf.formats.fetch import fetch
from privinf.models.clear import ClearDecoder, prefix_cache
from privinf.models.engines.clear import Past
from privinf.models.engines.stores import IdealStore, encode
from privinf.models.fold import F64, fold
from privinf.models.plan.scales import PRE
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.passes import FixedSession
from privinf.models.programs.rows import Rows
from privinf.models.sharing.bundle import read
from privinf.models.sharing.share import share_decoder
from privinf.models.source.checkpoint import load
from privinf.models.spec import ModelSpec
from privinf.models.text.prompts import DecoderTokenizer
from privinf.protocols import prg, ring
from privinf.protocols.contract import Advance, SessionShape

F32 = npt.NDArray[np.float32]
MODELS = ("tinystories", "smollm2", "mgm")
FIRST = 8  # rows of the first pass where all tokens of a text are to be predicted
STEP = 32  # rows of each later one
CALIBRATION = 40  # texts


@dataclass(frozen=True)
class Subject:
    """A decoder that was shared, its weights in the clear beside it."""

    name: str
    layout: SessionLayout
    folded: dict[str, F64]
    past: Past
    tokenizer: DecoderTokenizer

    @classmethod
    def load(cls, name: str, shared: Path) -> Self:
        """Fetch and fold a model; share it first if that directory does not hold it."""
        source = fetch(name)
        spec, tensors = load(source)
        folded = fold(spec, tensors)
        tokenizer = DecoderTokenizer(source, spec.vocab)
        if not (shared / "client").is_dir():
            own = None if name != "mgm" else _written(spec, folded, tokenizer, CALIBRATION, 80, seed=0)
            share_decoder(source, shared, embeddings="private", calibration=own)
        bundle = read(shared / "client")
        past = prefix_cache(spec, folded, bundle.layout.plan.prefix)
        folded |= {
            f"layer{i}.attn.prefix.{part}": x.numpy().astype(np.float64)
            for i, pair in enumerate(past)
            for part, x in zip("kv", pair, strict=True)
        }
        return cls(name, bundle.layout, folded, past, tokenizer)

    @property
    def prefix(self) -> int:
        return len(self.layout.plan.prefix)

    def clear(self) -> ClearDecoder:
        """A float32 decoder behind the prefix."""
        decoder = ClearDecoder(self.layout.spec, self.folded, None)
        decoder.rewind(self.past)
        return decoder

    def fixed(self) -> Fixed:
        """The fixed interpreter behind the prefix; its weights are encoded once."""
        return Fixed(self)


class Fixed:
    """Runs texts and continuations in the fixed interpreter, under fresh masks."""

    def __init__(self, subject: Subject) -> None:
        known = {name: w for name, w in subject.folded.items() if name.startswith("embed.")}
        rest = {name: w for name, w in subject.folded.items() if name not in known}
        spec, plan = subject.layout.spec, subject.layout.plan
        self._layout = SessionLayout(spec, plan, False, True)  # the lookup is exact: no need to run it
        self._known = encode(known, PRE.of)
        self._store = IdealStore(encode(rest, PRE.of), PRE.of)
        self._prefix = subject.prefix

    def begin(self, prompt: int, rows: int) -> Session:
        """A session whose prompt takes so many rows, and each later pass `rows`."""
        shape = SessionShape("generate", prompt, rows)
        return Session(
            FixedSession(self._layout, shape, self._store, self._known), self._layout, shape, self._prefix
        )

    def predictions(self, ids: Sequence[int]) -> F32:
        """What follows each token of a text but its first seven, teacher-forced: (tokens - 7, vocab)."""
        session = self.begin(FIRST, STEP)
        parts = [session.run(ids[:FIRST])]
        for start in range(FIRST, len(ids), STEP):
            piece = list(ids[start : start + STEP])
            parts.append(session.run(piece + [piece[-1]] * (STEP - len(piece)))[: len(piece)])
        return np.concatenate(parts)


class Session:
    """One text under way in the fixed interpreter."""

    def __init__(self, fixed: FixedSession, layout: SessionLayout, shape: SessionShape, prefix: int) -> None:
        self._fixed, self._layout, self._shape = fixed, layout, shape
        self._next, self._kept = prefix, 0

    def run(self, ids: Sequence[int]) -> F32:
        """Logits of a pass of which all rows are kept."""
        index, count = self._fixed.ledger.index, len(ids)
        rows = Rows(
            np.array(ids, dtype=np.int64),
            np.arange(self._next, self._next + count),
            np.zeros(count, dtype=bool),
        )
        result = self._fixed.run(Advance.first(self._kept), rows, (prg.fresh_seed(), prg.fresh_seed()))
        self._next, self._kept = self._next + count, count
        field = self._layout.result(self._shape, index)
        assert result is not None
        return ring.decode(result, field.scale, field.bits)[0].astype(np.float32)


def sampled(
    spec: ModelSpec, folded: dict[str, F64], past: Past, first: int, count: int, tokens: int, seed: int
) -> list[list[int]]:
    """Texts that a model writes itself in float32 at temperature one: its domain, where no corpus is at hand."""
    generator = torch.Generator().manual_seed(seed)
    decoder = ClearDecoder(spec, folded)
    decoder.rewind(past, count)
    rows = torch.full((count, 1), first)
    drawn = rows
    while rows.shape[1] < tokens:
        logits = decoder.run(drawn, 1)[:, -1].clone()
        logits[
            :, [token for token in (spec.generator.bos, *spec.generator.eos) if token is not None]
        ] = -torch.inf
        drawn = torch.multinomial(torch.softmax(logits, -1), 1, generator=generator)
        rows = torch.cat((rows, drawn), 1)
    return [list(map(int, row)) for row in rows]


def _written(
    spec: ModelSpec, folded: dict[str, F64], tokenizer: DecoderTokenizer, count: int, tokens: int, seed: int
) -> list[str]:
    """Text to calibrate a model on that knows no words."""
    assert spec.generator.bos is not None
    rows = sampled(spec, folded, Past(), spec.generator.bos, count, tokens, seed)
    return [tokenizer.decode(row[1:]) for row in rows]


def book(subject: Subject, count: int, tokens: int, skip: int = 50_000) -> list[list[int]]:
    """Passages of Moby Dick, one after the other."""
    folder = fetch("moby-dick")
    path = next(p for p in sorted(folder.iterdir()) if p.suffix == ".txt")
    ids = subject.tokenizer.encode(path.read_text("utf-8")[skip : skip + 8 * count * tokens])
    return [ids[start : start + tokens] for start in range(0, count * tokens, tokens)]


def texts(subject: Subject, count: int, tokens: int) -> list[list[int]]:
    """Text to predict, in the model's domain."""
    if subject.name == "smollm2":
        return book(subject, count, tokens)
    first = subject.tokenizer.encode("Once" if subject.name == "tinystories" else "g__Bacteroides")[0]
    return sampled(subject.layout.spec, subject.folded, subject.past, first, count, tokens, seed=1)
