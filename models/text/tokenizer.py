"""Turns text into token ids with the model's own tokenizer, and refuses text that the model cannot take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privinf.errors import FileError, InputError, ModelError
from privinf.models.source.checkpoint import read_spec
from privinf.models.text.control import ControlledTokenizer

NAMED = 20  # lines that an error names, at most
BUCKETS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Tokenizer:
    """The tokenizer.json of a model directory, used as the files beside it say."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / "tokenizer.json"
        spec = read_spec(directory)
        self.max_tokens = spec.longest
        self._texts = texts = spec.tokens.texts
        self._rules = ControlledTokenizer(path, lower=texts.lower)
        # A padding token amid a text would shift the positions of what follows.
        self._skipped = spec.tokens.pad if spec.tokens.places > spec.max_tokens else None
        self._specials = self._rules.rules.num_special_tokens_to_add(is_pair=False)
        if (known := self._rules.size) > spec.vocab:
            raise ModelError(f"{path} knows {known} tokens, the model {spec.vocab}: they do not match")

    def encode(
        self,
        texts: Sequence[str],
        *,
        truncate: bool = False,
        prompt_name: str | None = None,
        special_tokens: bool = False,
    ) -> list[npt.NDArray[np.int32]]:
        """Token ids of each text behind the model's prompt, in [CLS] and [SEP] or what the model has instead.

        What a text says of control tokens ("[SEP]") is text, unless `special_tokens` makes them what they name.
        """
        if isinstance(texts, str):
            raise InputError("a list of texts is needed, not one text")
        prompt = self._texts.prompt(prompt_name)
        return [
            self._encode_one(text, f"text {index}", prompt, truncate, special_tokens)
            for index, text in enumerate(texts)
        ]

    def _encode_one(
        self, text: object, name: str, prompt: str, truncate: bool, special: bool
    ) -> npt.NDArray[np.int32]:
        whole = prompt + _checked(text, name)
        encoding = self._rules.encode(self._rules.script(whole) if special else whole)
        tokens = len(encoding.ids) + self._specials
        if not encoding.ids:
            raise InputError(f"{name} holds no character that the tokenizer knows")
        if self._skipped in encoding.ids:
            token = self._rules.text_of(self._skipped)
            raise InputError(f"{name} holds {token!r}, to which this model gives no position: remove it")
        if tokens > self.max_tokens and not truncate:
            raise InputError(
                f"{name} has {tokens} tokens and the model takes {self.max_tokens}: "
                "shorten or split it, or ask for truncation (truncate=True)"
            )
        encoding.truncate(self.max_tokens - self._specials)
        return np.array(self._rules.rules.post_process(encoding).ids, dtype=np.int32)


def bucket(n_tokens: int) -> int:
    """The smallest bucket that holds `n_tokens`: all that others learn about the length of a text."""
    fitting = [size for size in BUCKETS if size >= n_tokens]
    if n_tokens < 1 or not fitting:
        raise InputError(f"{n_tokens} tokens fit no length bucket of {', '.join(map(str, BUCKETS))}")
    return fitting[0]


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a UTF-8 file, one text each."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError.unread(path, error) from None
    return lines_of(data, os.fspath(path))


def lines_of(data: bytes, name: str) -> list[str]:
    """The lines of UTF-8 text, one text each; blank ones are refused, all at once, as results go by line."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{name} is empty; one text a line is needed")
    texts = [_decoded(line, f"{name}, line {number}") for number, line in enumerate(lines, start=1)]
    if blank := [number for number, text in enumerate(texts, start=1) if not text.strip()]:
        raise InputError(f"{name}: {_counted(blank)} blank; remove blank lines, as results go by line")
    return texts


def _counted(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:NAMED]))
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"line {named} is" if len(numbers) == 1 else f"lines {named}{more} are"


def _checked(text: object, name: str) -> str:
    if not isinstance(text, str):
        raise InputError(f"{name} is of type {type(text).__name__}, not a string")
    if not text.strip():
        raise InputError(f"{name} is empty or only white space")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{name} holds half a surrogate pair at character {error.start}") from None
    return text


def _decoded(line: bytes, name: str) -> str:
    try:
        return line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}, byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
