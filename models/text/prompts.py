"""Prompts and continuations of a shared decoder as tokens, after its public prefix; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import TypeVar

from privinf.errors import InputError, ModelError
from privinf.models.text.control import ControlledTokenizer, Script

Text = TypeVar("Text", bound=str | Script)

SYSTEM = "system.txt"  # in a client's directory: the system message of every conversation, where there is one
SHORT = (8, 16, 24, 32, 48, 64)  # rows to which a prompt is padded; longer ones to multiples of the last


class DecoderTokenizer:
    """The tokenizer.json of a decoder's directory; special tokens are added by nobody but the caller."""

    def __init__(self, directory: str | os.PathLike[str], vocab: int) -> None:
        path = Path(directory) / "tokenizer.json"
        self.rules = ControlledTokenizer(path)
        if (known := self.rules.size) > vocab:
            raise ModelError(f"{path} knows {known} tokens, the model {vocab}: they do not match")
        self._vocab = vocab

    def encode(self, text: str | Script) -> list[int]:
        """Tokens of a text, in which nothing is a control token but what a script names as one."""
        return list(self.rules.encode(_checked(text)).ids)

    def script(self, text: str, special_tokens: bool) -> Script:
        """A text that means the control tokens that it spells, if it is to mean any."""
        return self.rules.script(_checked(text)) if special_tokens else Script(_checked(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return str(self.rules.rules.decode(list(ids), skip_special_tokens=True))

    def known(self, ids: Iterable[object]) -> list[int]:
        """Tokens as plain integers; InputError names the place of one that the model does not have, never the token."""
        known = []
        for place, token in enumerate(ids):
            if (
                isinstance(token, bool)
                or not isinstance(token, Integral)
                or not 0 <= int(token) < self._vocab
            ):
                raise InputError(
                    f"place {place} of the prompt is not a token of this model: tokens are 0 to {self._vocab - 1}"
                )
            known.append(int(token))
        return known

    def after(self, whole: Script, prefix: Sequence[int], first: int) -> list[int]:
        """Tokens of a text that follow the public prefix, `first` tokens of which stand for no text."""
        ids, begin = self.encode(whole), list(prefix)[first:]
        if ids[: len(begin)] != begin:
            raise InputError(
                "the prompt's first characters merge with the public prefix: begin it with a word or a line break"
            )
        return ids[len(begin) :]


def require_prefix(text: str, prefix: str) -> None:
    """Raise InputError unless a conversation begins so."""
    if not text.startswith(prefix):
        raise InputError(
            "the conversation does not begin with this public prefix: make it from the same template, "
            "system message and day, or leave it empty"
        )


def _checked(text: Text) -> Text:
    """The same, if it is text that can be written down."""
    if not isinstance(text, str | Script):
        raise InputError("a prompt is a text")
    try:
        (text if isinstance(text, str) else text.text).encode("utf-8")
    except UnicodeEncodeError:  # whose message would hold the prompt
        raise InputError("the prompt holds half of a surrogate pair, which no text may") from None
    return text


def prompt_rows(tokens: int) -> int:
    """The rows to which a prompt is padded: all that others learn about its length."""
    if tokens <= SHORT[-1]:
        return next(size for size in SHORT if size >= tokens)
    return -(-tokens // SHORT[-1]) * SHORT[-1]
