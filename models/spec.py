"""Everything public about a model: its sizes and choices, whichever family's files said so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeVar

from privinf.errors import ModelError, OptionError

T = TypeVar("T")
Task = Literal["embed", "classify", "generate"]
Pooling = Literal["mean", "cls"]
# What a head's numbers mean: one label of all, any number of them, or numbers in their own right.
Says = Literal["label", "labels", "score", "measure"]

WITHOUT_TEXT = ("query", "document")  # prompts that every model has, empty where it names none


@dataclass(frozen=True)
class Rotary:
    """Positions by turning the values of a head, `width` of them, against each other."""

    theta: float
    width: int


@dataclass(frozen=True)
class BlockSpec:
    """What may differ from layer to layer; `gated` where the activation multiplies another linear layer.

    attention: a name in models/attention, of all heads or one for each. straight: rows without the activation, whose
    two linear layers are one.
    """

    activation: str
    gated: bool = False
    rotary: Rotary | None = None
    attention: str | tuple[str, ...] = "softmax"
    straight: tuple[int, ...] = ()

    def variants(self, heads: int) -> tuple[str, ...]:
        """The attention of each head."""
        return self.attention if isinstance(self.attention, tuple) else (self.attention,) * heads


@dataclass(frozen=True)
class TextRules:
    """What becomes of a text before it is tokens.

    longest: tokens that a text may have, special ones included; none where the model's files say nothing.
    prompts: what may be put before a text, by name; default: the name of the one that is put there unasked.
    """

    longest: int | None = None
    prompts: tuple[tuple[str, str], ...] = ()
    default: str | None = None
    lower: bool = False

    def prompt(self, name: str | None) -> str:
        """What goes before a text; InputError for a name that is none."""
        chosen = self.default if name is None else name
        known = dict.fromkeys(WITHOUT_TEXT, "") | dict(self.prompts)
        if chosen is None:
            return ""
        if chosen not in known:
            raise OptionError(
                f"this model has no prompt {chosen!r}; choose one of {', '.join(sorted(known))}"
            )
        return known[chosen]


@dataclass(frozen=True)
class Tokens:
    """Texts: `places` are rows of learned positions, of which the last max_tokens are used; `types` those of segments.

    pad: token id of padding.
    """

    vocab: int
    pad: int = 0
    places: int = 0
    types: int = 0
    texts: TextRules = TextRules()


@dataclass(frozen=True)
class Patches:
    """The one size of images that a model takes, and how they are cut; front: learnt rows that go before theirs."""

    height: int
    width: int
    patch_height: int
    patch_width: int
    channels: int
    front: int = 1

    @property
    def count(self) -> int:
        """How many, row by row."""
        return (self.height // self.patch_height) * (self.width // self.patch_width)

    @property
    def rows(self) -> int:
        """That a model has of an image."""
        return self.front + self.count

    @property
    def values(self) -> int:
        """Numbers in a patch: channel, then row, then column."""
        return self.channels * self.patch_height * self.patch_width


@dataclass(frozen=True)
class Pool:
    """Embeddings: what stands for a text's rows, whether it has unit length, to how many numbers it is cut."""

    kind: Pooling | None = None
    unit: bool = False
    dimension: int | None = None


@dataclass(frozen=True)
class Classifier:
    """Names of classes, what their numbers mean, and the activation of a layer before the last, if there is one.

    averaged: how many first rows have a last layer each, whose answers are averaged.
    """

    labels: tuple[str, ...]
    says: Says = "label"
    dense: str | None = None
    averaged: int = 1


@dataclass(frozen=True)
class Generator:
    """What follows: whether the last layer is the embeddings turned around; tokens that begin and end texts."""

    tied: bool
    bos: int | None = None
    eos: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """A transformer.

    max_tokens: rows that there are positions for. order: where norms stand, a name in models/orders. biases: which
    parts have them in the file, of qkv, out, ffn, norm and head. buckets: of relative positions, one table for all
    layers. embed_norm: whether the first layer takes normalised rows.
    """

    family: str
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    max_tokens: int
    order: str
    norm: Literal["layer", "rms"]
    eps: float
    blocks: tuple[BlockSpec, ...]
    inputs: Tokens | Patches
    head: Pool | Classifier | Generator
    biases: frozenset[str] = frozenset()
    buckets: int = 0
    embed_norm: bool = False

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def task(self) -> Task:
        """What it is asked."""
        if isinstance(self.head, Pool):
            return "embed"
        return "classify" if isinstance(self.head, Classifier) else "generate"

    @property
    def rotary(self) -> Rotary | None:
        """How its layers turn heads, if positions have no table."""
        return next((block.rotary for block in self.blocks if block.rotary is not None), None)

    @property
    def gated(self) -> bool:
        """Whether an activation multiplies another linear layer."""
        return any(block.gated for block in self.blocks)

    @property
    def tokens(self) -> Tokens:
        """Of a model of texts."""
        return _required(self.inputs, Tokens, "this model takes images, not texts")

    @property
    def patches(self) -> Patches:
        """Of a model of images."""
        return _required(self.inputs, Patches, "this model takes texts, not images")

    @property
    def vocab(self) -> int:
        """Tokens that there are; none of a model of images."""
        return self.inputs.vocab if isinstance(self.inputs, Tokens) else 0

    @property
    def longest(self) -> int:
        """Tokens that a text may have: positions that there are, unless the model's files cut texts earlier."""
        return min(self.max_tokens, self.tokens.texts.longest or self.max_tokens)

    @property
    def pool(self) -> Pool:
        """Of a model that embeds."""
        return _required(self.head, Pool, f"this model does {self.task}, and embeds nothing")

    @property
    def classifier(self) -> Classifier:
        """Of a model that classifies."""
        return _required(self.head, Classifier, f"this model does {self.task}, and classifies nothing")

    @property
    def generator(self) -> Generator:
        """Of a model that generates."""
        return _required(self.head, Generator, f"this model does {self.task}, and generates nothing")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of classes; none of a model that does not classify."""
        return self.head.labels if isinstance(self.head, Classifier) else ()

    @property
    def answer_width(self) -> int:
        """Numbers that a text is answered with."""
        return len(self.labels) or (self.pool.dimension or self.width)

    @property
    def sums(self) -> bool:
        """Whether an answer is made of all real rows: of the first one alone otherwise."""
        return isinstance(self.head, Pool) and self.head.kind != "cls"

    @property
    def digest(self) -> str:
        """SHA-256 of all that parties compute by: what clients alone do to texts and to answers is not among it."""
        inputs, head = self.inputs, self.head
        if isinstance(inputs, Tokens):
            inputs = replace(inputs, texts=TextRules())
        if isinstance(head, Pool):
            head = replace(head, unit=False, dimension=None)
        elif isinstance(head, Generator):
            head = Generator(head.tied)
        whole = asdict(replace(self, inputs=inputs, head=head))
        return hashlib.sha256(json.dumps(whole, sort_keys=True, default=sorted).encode()).hexdigest()


def _required(part: object, kind: type[T], otherwise: str) -> T:
    if not isinstance(part, kind):
        raise ModelError(otherwise)
    return part
