"""What a mode is to both clients: a backend, which reads what is asked, refuses what cannot be, and answers calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, runtime_checkable

from privinf.errors import ConfigError, InputError, OptionError
from privinf.sdk.answers import Classification, Embeddings
from privinf.sdk.call import Call
from privinf.sdk.completions import TokenStream
from privinf.sdk.options import GenerationOptions, Reading
from privinf.sdk.pictures import Pictures
from privinf.sdk.several import BeginAll
from privinf.sdk.standing import PartyStatus

Texts = str | Iterable[str]
Items = Texts | Pictures
Message = Mapping[str, str]
Messages = Sequence[Message]
Prompt = str | Sequence[int]
Prompts = list[str] | list[list[int]] | list[Sequence[int]] | list[Prompt] | tuple[Prompt, ...]
Begin = Callable[
    [Call], TokenStream
]  # asks for what was read; it waits for a place, and a stream gives the tokens


@dataclass(frozen=True)
class Conversation:
    """Messages to be answered, each {"role": ..., "content": ...}."""

    messages: Messages = field(repr=False)


Asked = Prompt | Conversation | Prompts | list[Conversation]  # of one answer, or of several


@dataclass(frozen=True)
class Facts:
    """What a client knows of its model before it asks anything; both ids together tell it from every other."""

    mode: str
    task: str  # embed, classify or generate
    model_id: str
    plan_hash: str = ""
    level: str = ""  # of the equivariant mode
    chat: bool = False  # whether it answers conversations


class Backend(Protocol):
    """A model and the way to its servers; calls block, and another thread may drop them."""

    @property
    def facts(self) -> Facts: ...

    @property
    def sessions_left(self) -> int | None:
        """How many more calls the client's folder allows; None for any number."""

    def connect(self) -> None:
        """Reach the servers, and refuse those of another model."""

    def close(self) -> None:
        """Release the connections; idempotent."""

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""

    def check(self, texts: Texts, reading: Reading) -> None:
        """Raise InputError for the first text that the model cannot take; nothing is asked."""

    def embed(self, texts: Texts, reading: Reading, call: Call) -> Embeddings: ...

    def classify(self, items: Items, reading: Reading, call: Call) -> Classification: ...

    def write(
        self, prompt: Prompt | Conversation, options: GenerationOptions, raw: bool, special_tokens: bool
    ) -> Begin:
        """Read a prompt; nothing is asked before what this returns is called."""


@runtime_checkable
class WritesTogether(Protocol):
    """A backend whose servers have several prompts advance together; others are asked one after the other."""

    def write_together(
        self,
        prompts: Sequence[Prompt | Conversation],
        options: Sequence[GenerationOptions],
        raw: bool,
        special_tokens: bool,
    ) -> BeginAll:
        """Read prompts, each with options of its own; nothing is asked before what this returns is called."""


class Tokenising(Protocol):
    """What turns prompts into tokens."""

    def prompt(self, prompt: Prompt, raw: bool, special_tokens: bool = False) -> list[int]: ...
    def conversation(self, messages: Sequence[Message], special_tokens: bool = False) -> list[int]: ...


def tokens_of(side: Tokenising, prompt: Prompt | Conversation, raw: bool, special_tokens: bool) -> list[int]:
    """Tokens of a prompt, or of a conversation up to where its answer begins."""
    if isinstance(prompt, Conversation):
        return side.conversation(prompt.messages, special_tokens)
    return side.prompt(prompt, raw, special_tokens)


@contextmanager
def of_prompt(place: int) -> Iterator[None]:
    """Have what is wrong with one prompt of several say which it is."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"prompt {place}: {error}") from error


def other_task(task: str, asked: str) -> InputError:
    """Of a model for one task that is asked for another."""
    verbs = "generate or chat" if task == "generate" else task
    return InputError(f"this model is for {task}, not for {asked}: use {verbs}, or another model (--model)")


def no_chat(folder: object) -> ConfigError:
    """Of a model for plain text that is asked for a conversation."""
    return ConfigError(
        f"{folder} holds no conversations, as it has no chat template or was shared for plain text: use generate, "
        "which takes no system message"
    )


def of_texts(task: str) -> str:
    """What a model is asked about texts: its task, or what one that generates is not for."""
    return "embed" if task == "generate" else task


def lacks(mode: str, verb: str) -> NoReturn:
    """Refuse a verb that a mode does not have."""
    raise OptionError(f"{verb}: the {mode} mode has no such thing")
