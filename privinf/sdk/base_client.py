"""What both clients share: how they are made, and how what they are asked comes to their backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Never, NoReturn, Unpack, cast

from privinf.errors import InputError, OptionError
from privinf.options import changed, chosen, refuse_unknown, require
from privinf.sdk.backend import (
    Asked,
    Begin,
    Conversation,
    Facts,
    Messages,
    Prompt,
    Texts,
    WritesTogether,
    of_prompt,
)
from privinf.sdk.connection import Connection, GivenTls
from privinf.sdk.modes import MODES
from privinf.sdk.options import (
    GenerationKeywords,
    GenerationOptions,
    ModeName,
    OwnKeywords,
    Reading,
    ReadingKeywords,
)
from privinf.sdk.several import BeginAll, Part

_KEYWORDS = ("mode", *(item.name for item in fields(Connection)))


class BaseClient:
    """A model, in a mode; `model` is the client's directory of a shared or a covered model.

    Args:
        mode: "private" (two parties that learn nothing) or "equivariant" (one server that is told obfuscated values).
        parties: the addresses of both parties, for the private mode.
        server: the address of the one server, for the equivariant mode.
        tls: the client's certificate.
        deadline: seconds for each query.
        config: a TOML file of these; arguments and PRIVINF_* variables win over it.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        mode: ModeName = "private",
        parties: Sequence[str] | None = None,
        server: str | None = None,
        tls: GivenTls | None = None,
        deadline: float | None = None,
        insecure_no_tls: bool | None = None,
        config: str | Path | None = None,
        **unknown: Never,
    ) -> None:
        refuse_unknown(unknown, _KEYWORDS)
        connection = Connection(parties, server, tls, deadline, insecure_no_tls, config)
        self._mode = MODES[mode]
        self._backend = self._mode.open(Path(model), connection)

    @property
    def facts(self) -> Facts:
        """What is known of the model before anything is asked."""
        return self._backend.facts

    @property
    def identity(self) -> NoReturn:
        """The name that `facts` had."""
        raise AttributeError("identity is now called facts")

    @property
    def sessions_left(self) -> int | None:
        """How many more calls the client's folder allows; None for any number."""
        return self._backend.sessions_left

    def check(self, texts: Texts, **reading: Unpack[ReadingKeywords]) -> None:
        """Raise InputError for the first text that the model cannot take; options as for `embed`. Nothing is asked."""
        self._backend.check(texts, chosen(Reading, reading))

    def _read(
        self,
        prompt: Asked,
        raw: bool,
        special_tokens: bool,
        each: Sequence[OwnKeywords] | None,
        given: GenerationKeywords,
    ) -> Begin | BeginAll:
        """Read a prompt or several, and how to continue them; nothing is asked yet."""
        if "stream" in given:
            raise OptionError("stream: call `stream`, or `stream_chat` for a conversation, instead")
        options = self._known(chosen(GenerationOptions, given))
        if (prompts := several(prompt)) is not None:
            own = [self._known(one) for one in each_of(options, each, len(prompts))]
            return self._read_all(prompts, own, raw, special_tokens)
        require(each is None, "each: this is for several prompts; give one its options as they are")
        return self._backend.write(cast(Prompt | Conversation, prompt), options, raw, special_tokens)

    def _read_all(
        self,
        prompts: Sequence[Prompt | Conversation],
        options: Sequence[GenerationOptions],
        raw: bool,
        special_tokens: bool,
    ) -> BeginAll:
        """Have prompts advance together where the mode can, or one after the other."""
        if isinstance(self._backend, WritesTogether):
            return self._backend.write_together(prompts, options, raw, special_tokens)
        left = self.sessions_left
        require(left is None or left >= len(prompts), f"{len(prompts)} prompts, and {left} sessions are left")
        parts = []
        for place, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
            with of_prompt(place):
                parts.append(Part((place,), self._backend.write(prompt, own, raw, special_tokens)))
        return BeginAll(lambda call: parts)

    def _known(self, options: GenerationOptions) -> GenerationOptions:
        """The same, if the mode knows all that was changed."""
        if foreign := [name for name in changed(options) if name not in self._mode.options]:
            raise OptionError(f"{', '.join(foreign)}: only the private mode supports that; leave it out")
        return options


def each_of(
    options: GenerationOptions, each: Sequence[OwnKeywords] | None, count: int
) -> list[GenerationOptions]:
    """The options of each of several prompts."""
    own: Sequence[OwnKeywords] = each or [{}] * count
    require(len(own) == count, f"each: options of {len(own)} prompts, and there are {count}")
    return [options.own(one) for one in own]


def several(prompt: Asked) -> list[Prompt | Conversation] | None:
    """The prompts of a list of them; None where it is one, a text or token ids; InputError for what may be both."""
    if not isinstance(prompt, list | tuple):
        return None
    whole = {isinstance(item, Conversation) or hasattr(item, "__len__") for item in prompt}
    if len(whole) > 1:
        raise InputError("a list holds the token ids of one prompt, or prompts: texts, or lists of token ids")
    return list(cast(Sequence[Prompt | Conversation], prompt)) if whole == {True} else None


def talks(messages: Messages | Sequence[Messages]) -> Conversation | list[Conversation]:
    """A conversation, or several."""
    if isinstance(messages, list | tuple) and messages and isinstance(messages[0], list | tuple):
        return [Conversation(one) for one in messages]
    return Conversation(cast(Messages, messages))
