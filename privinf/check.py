"""Runs the fixed interpreter of a shared model on text, and says how close every site comes to its range."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from privinf.errors import ModelError
from privinf.models.engines.observers import Ranges
from privinf.models.engines.stores import BITS, IdealStore, Scale
from privinf.models.fold import F64
from privinf.models.plan.margins import Margin, limits, margins
from privinf.models.programs import query, texts
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.passes import FixedSession
from privinf.models.programs.public import Public
from privinf.models.programs.rows import Rows
from privinf.models.programs.texts import Ids
from privinf.models.sharing import bundle
from privinf.models.sharing.calibrate import Tick
from privinf.models.sharing.opened import opened, require_whole
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import Patches
from privinf.models.text.tokenizer import Tokenizer, bucket
from privinf.protocols import prg, ring
from privinf.protocols.contract import Advance, QueryShape, SessionShape
from privinf.protocols.ring import U64

if TYPE_CHECKING:
    from privinf.models.clear import ClearDecoder

Numbers = npt.NDArray[np.int64]

ROWS = 16  # of a decoder's pass
NEAR = 0.05
ALIKE = 0.99  # correlation of answers that a value which wrapped around does not leave


@dataclass(frozen=True)
class Compared:
    """One text's answer beside that in float32: their largest difference, and how alike they are.

    given: whether it would be; otherwise a value left its range, and the client is told RangeError.
    """

    difference: float
    correlation: float
    given: bool = True


@dataclass(frozen=True)
class Report:
    """`answers` in the order of the texts; `sites` from the one that comes closest to its range."""

    answers: tuple[Compared, ...]
    sites: tuple[Margin, ...]

    def within(self, bits: float) -> bool:
        """Whether every site keeps so many factors of two, and every answer is given, and that of float32."""
        return all(site.bits >= bits for site in self.sites) and not self.wrong and not self.refused

    @property
    def wrong(self) -> list[int]:
        """Places of the texts whose answers are not those of float32."""
        return [place for place, answer in enumerate(self.answers) if not answer.correlation >= ALIKE]

    @property
    def refused(self) -> list[int]:
        """Places of the texts that have no answer, as a value left its range."""
        return [place for place, answer in enumerate(self.answers) if not answer.given]


def check(
    shared: str | os.PathLike[str],
    lines: Sequence[str],
    *,
    truncate: bool = False,
    tick: Tick = lambda done: None,
) -> Report:
    """Ask a shared model, the folders of whose roles are still in one place, about each line.

    Raises:
        InputError: a text that the model cannot take.
        ModelError: a folder that is missing or damaged.
    """
    folder = require_whole(shared)
    spec = read_spec(folder / "client")
    if isinstance(spec.inputs, Patches):
        raise ModelError(f"{folder} takes images: `privinf check` is for models of texts")
    if spec.task == "generate":
        return _decoder(folder, lines, tick)
    ids = Tokenizer(folder / "client").encode(lines, truncate=truncate)
    return _encoder(folder, ids, tick)


def _encoder(folder: Path, ids: Sequence[Ids], tick: Tick) -> Report:
    from privinf.models.clear import ClearEncoder

    public = bundle.read_queries(folder / "client")
    layout, spec = public.layout, public.spec
    encoded = opened(folder, public)
    store, ranges, answers = IdealStore(encoded, layout.scale), Ranges(), []
    known = Public.of(layout, encoded)
    clear = ClearEncoder(spec, _decoded(encoded, layout.scale), ranges)
    task = spec.task
    for tokens in ids:
        shape = QueryShape(task, 1, min(bucket(len(tokens)), layout.max_tokens))
        rows = texts.lay_out(layout, shape, [tokens])
        seeds = prg.fresh_seed(), prg.fresh_seed()
        given = texts.plain(layout, shape, rows)
        private, said = query.fixed(layout, shape, given, seeds, store, known)
        exact = clear.run([tokens], shape.tokens)[0].numpy()
        if task == "embed" and spec.pool.unit:
            exact = exact / np.linalg.norm(exact)
        answers.append(_compared(texts.finish(layout, rows, private), exact[:, : spec.answer_width], said))
        tick(1)
    return Report(tuple(answers), tuple(margins(limits(layout.model, layout.plan.max_tokens), ranges)))


def _decoder(folder: Path, lines: Sequence[str], tick: Tick) -> Report:
    import torch

    from privinf.models.clear import ClearDecoder
    from privinf.sdk.decoder_client import DecoderSide

    side = DecoderSide(folder / "client")
    spec, layout = side.bundle.spec, side.bundle.layout
    encoded = opened(folder, side.bundle)
    weights, ranges = _decoded(encoded, layout.scale), Ranges()
    clear = ClearDecoder(spec, weights, ranges, layout.plan.cache)
    store, answers = IdealStore(encoded, layout.scale), []
    names = [f"layer{i}.attn.prefix." for i in range(spec.layers if layout.plan.prefix else 0)]
    kept = {name: torch.from_numpy(w).float() for name, w in weights.items() if ".prefix." in name}
    past = [(kept[f"{name}k"], kept[f"{name}v"]) for name in names]
    for line in lines:
        ids = np.array(side.prompt(line, raw=False)[: layout.room - ROWS], dtype=np.int64)
        clear.rewind(past)
        answers.append(_worst(_compared(*both) for both in _passes(layout, ids, store, encoded, clear)))
        tick(1)
    return Report(tuple(answers), tuple(margins(limits(layout.model, layout.plan.max_tokens), ranges)))


def _passes(
    layout: SessionLayout, ids: Numbers, store: IdealStore, encoded: Mapping[str, U64], clear: ClearDecoder
) -> Iterator[tuple[F64, npt.NDArray[np.float32], bool]]:
    """The logits of a text's passes in the fixed interpreter, and in float32; and whether they would be given."""
    import torch

    first = (len(ids) - 1) % ROWS + 1
    shape = SessionShape("generate", first, ROWS)
    session, start = FixedSession(layout, shape, store, encoded), len(layout.plan.prefix)
    advance = Advance()
    for index, piece in enumerate(np.split(ids, range(first, len(ids), ROWS))):
        rows = Rows(piece, np.arange(start, start + len(piece)), np.zeros(len(piece), dtype=bool))
        values = session.run(advance, rows, (prg.fresh_seed(), prg.fresh_seed()))
        assert values is not None
        field = layout.result(shape, index)
        private = ring.decode(values, field.scale, field.bits)[0]
        exact = clear.run(torch.from_numpy(piece)[None], len(private))[0].numpy()
        yield private, exact, session.in_range
        advance, start = Advance.first(len(piece)), start + len(piece)


def _decoded(encoded: Mapping[str, U64], scale: Scale) -> dict[str, F64]:
    """Weights as numbers again, rounded as the parties hold them."""
    return {name: ring.decode(value, scale(name), BITS) for name, value in encoded.items()}


def _compared(private: npt.NDArray[Any], exact: npt.NDArray[Any], given: bool) -> Compared:
    a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (private, exact))
    difference = float(abs(a - b).max())
    if len(a) == 1:  # a score alone is like another where it is near
        return Compared(difference, 1.0 if difference < NEAR * max(1.0, abs(float(b[0]))) else 0.0, given)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Compared(difference, float(a @ b) / size if size else 1.0, given)


def _worst(parts: Iterable[Compared]) -> Compared:
    found = list(parts)
    difference, correlation = max(part.difference for part in found), min(part.correlation for part in found)
    return Compared(difference, correlation, all(part.given for part in found))
