"""What everybody knows of a session's form: its passes, and the tensors that a pass's query and answer consist of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.models.engines.positions import Places
from privinf.models.parts import Model, build
from privinf.models.plan.rings import Plan
from privinf.models.query import Field
from privinf.models.row_keys import KeyForm
from privinf.models.spec import ModelSpec
from privinf.protocols import prg
from privinf.protocols.contract import SessionShape

TASKS = ("generate", "argmax")  # all logits to the client, or the likeliest token alone
PADDED = "-padded"  # after a task: nobody but the client learns how many drafts were right
CHUNK = 64  # rows of a prompt that go through the model in one pass: preparations are held in memory
MOST_ROWS = 32  # of a later pass
MOVED, ADVANCED = (
    "moved",
    "advanced",
)  # keys of how far the prefix moves, and of how many drafts were right so far


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """What the client knows of a pass's rows: tokens, true positions, which are padding.

    moved: how far the prompt's padding moves all positions. rejected: which rows of the pass before are out, where
    the servers are not to know; never the first.
    """

    ids: npt.NDArray[np.int64]
    places: Places
    padding: npt.NDArray[np.bool_]
    moved: int = 0
    rejected: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class DecoderLayout:
    """Public facts from which every role derives the form of a session.

    public: everybody knows the weights. embedded: everybody knows the tables of embeddings at least.
    """

    spec: ModelSpec
    plan: Plan
    public: bool
    embedded: bool

    @cached_property
    def model(self) -> Model:
        """The parts that programs run."""
        return build(self.spec, self.plan)

    @property
    def room(self) -> int:
        """Slots that a session may fill beside the prefix."""
        return self.plan.max_tokens - len(self.plan.prefix)

    def check(self, shape: SessionShape) -> None:
        """Raise InputError for a session that this model cannot take."""
        if shape.task.removesuffix(PADDED) not in TASKS:
            raise InputError(f"this model does {', '.join(TASKS)}, not {shape.task!r}")
        if not 1 <= shape.rows <= MOST_ROWS:
            raise InputError(f"a pass has 1 to {MOST_ROWS} rows, not {shape.rows}")
        if not 1 <= shape.prompt <= self.room - shape.rows:
            raise InputError(
                f"a prompt of {shape.prompt} rows: this shared model takes 1 to {self.room - shape.rows}"
            )

    def passes(self, shape: SessionShape) -> int:
        """Passes that read the prompt."""
        return -(-shape.prompt // CHUNK)

    def rows(self, shape: SessionShape, index: int) -> int:
        """Rows of a pass."""
        left = shape.prompt - index * CHUNK
        return min(left, CHUNK) if left > 0 else shape.rows

    def outputs(self, shape: SessionShape, index: int) -> int:
        """How many of a pass's last rows are answered."""
        last = self.passes(shape) - 1
        return 0 if index < last else 1 if index == last else shape.rows

    def padded(self, shape: SessionShape) -> bool:
        """Whether the servers are not to know which drafts were right: no slot is ever dropped then."""
        return shape.task.endswith(PADDED)

    @property
    def tables(self) -> dict[str, int]:
        """Tables of embeddings that rows are looked up in, and their sizes."""
        sizes = {"token": self.spec.vocab}
        return sizes if self.spec.rotary else sizes | {"position": self.spec.max_tokens}

    def keys(self, shape: SessionShape, index: int) -> dict[str, KeyForm]:
        """The keys of a pass's query, in order.

        Rotary positions are selected too where the servers are not to know them: how far the prefix moves towards
        the prompt, and how many drafts were right so far, which all rows of a pass stand behind. What can have one
        value alone has no key.
        """
        rows = self.rows(shape, index)
        keys = [KeyForm(name, rows, size) for name, size in self.tables.items()]
        if self.spec.rotary and index == 0 and self.plan.prefix:
            keys.append(KeyForm(MOVED, 1, shape.prompt))
        if self.spec.rotary and self.padded(shape):
            keys.append(KeyForm(ADVANCED, 1, 1 + max(index - self.passes(shape), 0) * (shape.rows - 1)))
        return {key.name: key for key in keys if key.name in self.tables or key.size > 1}

    def fields(self, shape: SessionShape, index: int) -> list[Field]:
        """The bits of a pass's query that are shared modulo two, in order."""
        if index < self.passes(shape):
            return [Field("pads", (1, 1, 1, self.rows(shape, index)), 1, 0)]
        drafts = shape.rows - 1  # the first row is no draft, and never out
        if drafts and self.padded(shape) and index > self.passes(shape):
            return [Field("rejected", (1, 1, 1, drafts), 1, 0)]
        return []

    def result(self, shape: SessionShape, index: int) -> Field:
        """The answer's tensor; empty for a part of the prompt."""
        outputs = self.outputs(shape, index)
        if shape.task.startswith("argmax"):
            return Field("token", (1, outputs, 1), index_bits(self.spec.vocab), 0)
        bits = self.plan.answer_bits
        return Field("logits", (1, outputs, self.spec.vocab), bits, self.plan.scales.result)

    def query_bytes(self, shape: SessionShape, index: int, party: int) -> int:
        """A seed at party 0, differences and roots at party 1, the query's id and correction words at both."""
        keys = self.keys(shape, index).values()
        words = prg.QUERY_ID_BYTES + sum(key.words_bytes for key in keys)
        if party == 0:
            return prg.SEED_BYTES + words
        return words + sum(key.roots_bytes for key in keys) + sum(f.nbytes for f in self.fields(shape, index))


def index_bits(size: int) -> int:
    """Bits of an index into a table."""
    return max((size - 1).bit_length(), 1)
