"""What everybody knows of a shared model, and the form of what it is asked: texts, or the passes of a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from privinf.errors import InputError
from privinf.models.parts import Model, build
from privinf.models.plan.ranges import held
from privinf.models.plan.rings import Plan
from privinf.models.programs.keys import KeyForm
from privinf.models.programs.wire import Field, Form
from privinf.models.spec import ModelSpec
from privinf.protocols import ring
from privinf.protocols.contract import QueryShape, SessionShape
from privinf.protocols.masked.watched import SPARE
from privinf.protocols.ring import Shape

LOW_TOKENS, MAX_ROWS = 4, 1024  # of a text; of a query
TASKS = ("generate", "argmax")  # all logits to the client, or the likeliest token alone
PADDED = "-padded"  # after a task: nobody but the client learns how many drafts were right
CHUNK = 64  # rows of a prompt that go through the model in one pass: preparations are held in memory
TOGETHER = 64  # rows of all prompts of a session in one pass: it takes no more memory than a long prompt's
MOST_ROWS = 32  # of a later pass
# Keys of how far the prefix moves, and of how many drafts were right so far
MOVED, ADVANCED = "moved", "advanced"
TABLES = ("embed.token", "embed.position")


@dataclass(frozen=True)
class Layout:
    """Public facts from which every role derives all forms.

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
    def scale(self) -> Callable[[str], int]:
        """Fraction bits of a folded tensor, by its name."""
        return self.plan.scales.of

    @property
    def masked(self) -> dict[str, Shape]:
        """Shapes of the tensors that the parties hold under masks."""
        if self.public:
            return {}
        return {n: s for n, s in self.model.shapes().items() if not (self.embedded and n in TABLES)}


@dataclass(frozen=True)
class QueryLayout(Layout):
    """Of a model that is asked about whole texts."""

    @property
    def max_tokens(self) -> int:
        """The longest bucket that the model takes and that its ranges were calibrated for."""
        return min(self.spec.longest, self.plan.max_tokens)

    def check(self, shape: QueryShape) -> None:
        """Raise InputError for a shape that this model cannot take."""
        self.check_task(shape.task)
        if not LOW_TOKENS <= shape.tokens <= self.max_tokens:
            raise InputError(
                f"{shape.tokens} tokens: this shared model takes {LOW_TOKENS} to {self.max_tokens}"
            )
        if not (shape.batch >= 1 and shape.batch * shape.tokens <= MAX_ROWS):
            raise InputError(
                f"{shape.batch} texts of {shape.tokens} tokens: a query holds 1 to {MAX_ROWS} rows"
            )

    def check_task(self, task: str) -> None:
        """Raise InputError for what this model does not do."""
        if task != self.spec.task:
            raise InputError(f"this model does {self.spec.task}, not {task!r}")

    def form(self, shape: QueryShape) -> Form:
        """A key for each row's token, and a bit for whether the row is real: the rest is padding."""
        rows = (shape.batch, shape.tokens)
        return Form((KeyForm("token", rows, self.spec.vocab),), (Field("real", rows, 1, 0),))

    def result(self, shape: QueryShape) -> Field:
        """The answer's tensor."""
        last = len(self.spec.labels) or self.spec.width
        return Field("result", (shape.batch, 1, last), self.plan.answer_bits, self.plan.scales.result)


@dataclass(frozen=True)
class ImageLayout(QueryLayout):
    """Of a model that is asked about images, all of one size; `embedded`: clients make rows of patches themselves."""

    @property
    def max_tokens(self) -> int:
        """Rows of an image."""
        return self.spec.max_tokens

    def check(self, shape: QueryShape) -> None:
        """Raise InputError for a shape that this model cannot take."""
        self.check_task(shape.task)
        if shape.tokens != self.max_tokens:
            raise InputError(
                f"images of {shape.tokens} rows: those of this shared model have {self.max_tokens}"
            )
        if not (shape.batch >= 1 and shape.batch * shape.tokens <= MAX_ROWS):
            raise InputError(
                f"{shape.batch} images of {shape.tokens} rows: a query holds 1 to {MAX_ROWS} rows"
            )

    @property
    def most_pixel(self) -> float:
        """What a pixel's magnitude is below: then it can be lifted."""
        return float(held(self.plan.pixel_bits, self.plan.scales.pixels)[1])

    def form(self, shape: QueryShape) -> Form:
        """Pixels, in a ring that is larger by what their check needs; or rows."""
        image, scales = self.spec.patches, self.plan.scales
        if self.embedded:
            rows = (shape.batch, image.count, self.spec.width)
            return Form((), (Field("rows", rows, self.plan.residual_bits, scales.residual),))
        pixels = (shape.batch, image.count, image.values)
        return Form((), (Field("pixels", pixels, self.plan.pixel_bits + SPARE, scales.pixels),))


@dataclass(frozen=True)
class SessionLayout(Layout):
    """Of a model that generates, pass after pass."""

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
        self._check_batch(shape)

    def _check_batch(self, shape: SessionShape) -> None:
        """Several prompts have one set of slots: which drafts of each are out is said in shares, or not at all."""
        if not 1 <= shape.batch <= self.most_prompts(shape.rows):
            most = self.most_prompts(shape.rows)
            raise InputError(
                f"{shape.batch} prompts together: with {shape.rows} rows a pass a session has 1 to {most}"
            )
        if shape.batch > 1 and shape.rows > 1 and not self.padded(shape):
            raise InputError(
                "several prompts together take drafts with hide_accepted alone: leave drafts out, or ask them in turn"
            )

    def most_prompts(self, rows: int) -> int:
        """How many prompts advance together at most, of whose later passes each has so many rows."""
        return TOGETHER // rows

    def chunk(self, shape: SessionShape) -> int:
        """Rows of each prompt that go through the model in one pass."""
        return min(CHUNK, TOGETHER // shape.batch)

    def passes(self, shape: SessionShape) -> int:
        """Passes that read the prompts."""
        return -(-shape.prompt // self.chunk(shape))

    def rows(self, shape: SessionShape, index: int) -> int:
        """Rows of each prompt in a pass."""
        chunk = self.chunk(shape)
        left = shape.prompt - index * chunk
        return min(left, chunk) if left > 0 else shape.rows

    def outputs(self, shape: SessionShape, index: int) -> int:
        """How many of a pass's last rows are answered, of each prompt."""
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

    def form(self, shape: SessionShape, index: int) -> Form:
        """Keys and bits of a pass's query."""
        return Form(tuple(self._keys(shape, index)), tuple(self._bits(shape, index)))

    def _keys(self, shape: SessionShape, index: int) -> list[KeyForm]:
        """Rows of tables; rotary positions are selected too where the servers are not to know them.

        How far the prefix moves towards each prompt, and how many of its drafts were right so far, which all its rows
        of a pass stand behind. What can have one value alone has no key.
        """
        rows, one = (shape.batch, self.rows(shape, index)), (shape.batch, 1)
        keys = [KeyForm(name, rows, size) for name, size in self.tables.items()]
        turned = []
        if self.spec.rotary and index == 0 and self.plan.prefix:
            turned.append(KeyForm(MOVED, one, shape.prompt))
        if self.spec.rotary and self.padded(shape):
            size = 1 + max(index - self.passes(shape), 0) * (shape.rows - 1)
            turned.append(KeyForm(ADVANCED, one, size))
        return keys + [key for key in turned if key.size > 1]

    def _bits(self, shape: SessionShape, index: int) -> list[Field]:
        """Which rows are padding, or which drafts of the pass before are out: its first row is no draft."""
        if index < self.passes(shape):
            return [Field("pads", (shape.batch, 1, 1, self.rows(shape, index)), 1, 0)]
        drafts = shape.rows - 1
        if drafts and self.padded(shape) and index > self.passes(shape):
            return [Field("rejected", (shape.batch, 1, 1, drafts), 1, 0)]
        return []

    def result(self, shape: SessionShape, index: int) -> Field:
        """The answer's tensor; empty for a part of the prompt."""
        outputs = self.outputs(shape, index)
        if shape.task.startswith("argmax"):
            return Field("token", (shape.batch, outputs, 1), ring.index_bits(self.spec.vocab), 0)
        bits = self.plan.answer_bits
        return Field("logits", (shape.batch, outputs, self.spec.vocab), bits, self.plan.scales.result)
