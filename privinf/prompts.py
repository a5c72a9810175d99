"""Prompts and continuations of a shared decoder as tokens, after its public prefix; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path

import tokenizers

from privinf.errors import InputError, ModelError

SYSTEM = "system.txt"  # in a client's directory: the system message of every conversation, where there is one
SHORT = (8, 16, 24, 32, 48, 64)  # rows to which a prompt is padded; longer ones to multiples of the last


class DecoderTokenizer:
    """The tokenizer.json of a decoder's directory; special tokens are added by nobody but the caller."""

    def __init__(self, directory: str | os.PathLike[str], vocab: int) -> None:
        path = Path(directory) / "tokenizer.json"
        try:
            self._rules = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault in the file
            raise ModelError(f"{path} is missing or no tokenizer of the tokenizers library") from error
        self._rules.no_truncation()
        self._rules.no_padding()
        if (known := self._rules.get_vocab_size(with_added_tokens=True)) > vocab:
            raise ModelError(f"{path} knows {known} tokens, the model {vocab}: they do not belong together")
        self._vocab = vocab

    def encode(self, text: str) -> list[int]:
        """Tokens of a text as it stands."""
        if not isinstance(text, str):
            raise InputError("a prompt is a text")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # whose message would hold the prompt
            raise InputError("the prompt holds half of a surrogate pair, which no text may") from None
        return list(self._rules.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return str(self._rules.decode(list(ids), skip_special_tokens=True))

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
                    f"place {place} of the prompt is no token of this model: they are 0 to {self._vocab - 1}"
                )
            known.append(int(token))
        return known

    def after(self, head: str, text: str, prefix: Sequence[int], first: int) -> list[int]:
        """Tokens of `text` where it follows the prefix: `first` tokens of it stand for no text, then comes `head`."""
        whole, begin = self.encode(head + text), list(prefix)[first:]
        if whole[: len(begin)] != begin:
            raise InputError(
                "the prompt's first characters melt into the public prefix: begin it with a word or a line break"
            )
        return whole[len(begin) :]


def prompt_rows(tokens: int) -> int:
    """The rows to which a prompt is padded: all that others learn about its length."""
    if tokens <= SHORT[-1]:
        return next(size for size in SHORT if size >= tokens)
    return -(-tokens // SHORT[-1]) * SHORT[-1]
