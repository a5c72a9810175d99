"""A decoder as a client holds it: its public facts, its tokenizer, and how prompts become tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from privinf.errors import InputError, OptionError
from privinf.models.sharing import bundle
from privinf.models.text.control import Script
from privinf.models.text.prompts import SYSTEM, DecoderTokenizer, require_prefix
from privinf.sdk.backend import Message, Prompt, no_chat

if TYPE_CHECKING:
    from privinf.models.text.chat import ChatTemplate


class DecoderSide:
    """The client's directory of a shared decoder."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.bundle = bundle.read_sessions(directory, "client")
        self.vocab = self.bundle.spec.vocab
        self.tokenizer = DecoderTokenizer(directory, self.vocab)

    @cached_property
    def _template(self) -> ChatTemplate:
        from privinf.models.text.chat import ChatTemplate

        return ChatTemplate(self.bundle.directory, rules=self.tokenizer.rules)

    @cached_property
    def _system(self) -> str | None:
        """The system message that the model was shared with."""
        path = self.bundle.directory / SYSTEM
        return path.read_bytes().decode("utf-8") if path.is_file() else None

    @property
    def eos(self) -> tuple[int, ...]:
        """The tokens that end a text."""
        return self.bundle.spec.generator.eos

    def prompt(self, prompt: Prompt, raw: bool, special_tokens: bool = False) -> list[int]:
        """Tokens of a prompt after the public prefix.

        A text is a user's message where the model was shared for conversations, unless it is to be taken `raw`.
        """
        if isinstance(prompt, str):
            if self.bundle.chat and not raw:
                if not prompt:
                    raise InputError("the prompt is empty: a continuation needs at least one token")
                return self.conversation([{"role": "user", "content": prompt}], special_tokens)
            return self._after(self.bundle.head + self.tokenizer.script(prompt, special_tokens))
        return self.tokenizer.known(prompt)

    def conversation(self, messages: Sequence[Message], special_tokens: bool = False) -> list[int]:
        """Tokens of a conversation up to where the answer begins, after the public prefix.

        The system message that the model was shared with comes first; who names one must name that.
        """
        if not self.bundle.chat:
            raise no_chat(self.bundle.directory)
        script = self._template.script(self._whole(messages), special_tokens=special_tokens)
        try:
            require_prefix(script.text, self.bundle.head.text)
        except InputError as error:
            if not _names_system(messages) or messages[0].get("content") == self._system:
                raise
            raise OptionError(
                "the system message (--system) is not the one that the model was shared with, which everyone knows: "
                "leave it out, or share the model with it"
            ) from error
        return self._after(script)

    def _whole(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self._system is None or _names_system(messages) or not isinstance(messages, list | tuple):
            return messages
        return [{"role": "system", "content": self._system}, *messages]

    def _after(self, whole: Script) -> list[int]:
        prefix = self.bundle.layout.plan.prefix
        textless = len(prefix) - len(self.tokenizer.encode(self.bundle.head))
        return self.tokenizer.after(whole, prefix, textless)


def _names_system(messages: Sequence[Message]) -> bool:
    """Whether a conversation begins with a system message of its own."""
    return bool(messages) and isinstance(messages[0], Mapping) and messages[0].get("role") == "system"
