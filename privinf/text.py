"""Turns text into token ids with the model's own tokenizer, and refuses text that the model cannot take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from privinf.errors import InputError, ModelError
from privinf.models.spec import read_spec

BUCKETS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Tokenizer:
    """The tokenizer.json of a model directory, without the padding and truncation stored in it."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / "tokenizer.json"
        spec = read_spec(directory)
        self.max_tokens = spec.max_tokens
        self._rules = _load(path)
        self._rules.no_truncation()
        self._rules.no_padding()
        # A padding token amid a text would shift the positions of what follows.
        self._skipped = spec.names.pad if spec.names.first_position else None
        self._specials = self._rules.num_special_tokens_to_add(is_pair=False)
        if (known := self._rules.get_vocab_size(with_added_tokens=True)) > spec.vocab:
            raise ModelError(
                f"{path} knows {known} tokens, the model {spec.vocab}: they do not belong together"
            )

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> list[npt.NDArray[np.int32]]:
        """Token ids of each text, special tokens included."""
        if isinstance(texts, str) or not len(texts):
            raise InputError("a list of at least one text is needed")
        return [self._encode_one(text, f"text {index}", truncate) for index, text in enumerate(texts)]

    def _encode_one(self, text: object, name: str, truncate: bool) -> npt.NDArray[np.int32]:
        encoding = self._rules.encode(_checked(text, name), add_special_tokens=False)
        tokens = len(encoding.ids) + self._specials
        if not encoding.ids:
            raise InputError(f"{name} holds no character that the tokenizer knows")
        if self._skipped in encoding.ids:
            token = self._rules.id_to_token(self._skipped)
            raise InputError(f"{name} holds {token!r}, to which this model gives no position: remove it")
        if tokens > self.max_tokens and not truncate:
            raise InputError(
                f"{name} has {tokens} tokens and the model takes {self.max_tokens}: "
                "shorten or split it, or ask for truncation (truncate=True)"
            )
        encoding.truncate(self.max_tokens - self._specials)
        return np.array(self._rules.post_process(encoding).ids, dtype=np.int32)


def bucket(n_tokens: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The smallest bucket that holds `n_tokens`: all that others learn about the length of a text."""
    fitting = [size for size in buckets if size >= n_tokens]
    if n_tokens < 1 or not fitting:
        raise InputError(f"{n_tokens} tokens fit no length bucket of {', '.join(map(str, buckets))}")
    return min(fitting)


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a UTF-8 file, one text each; a blank line is refused, as results go by line."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{os.fspath(path)} is empty; one text a line is needed")
    return [_decoded(line, f"{os.fspath(path)}, line {number}") for number, line in enumerate(lines, start=1)]


def _load(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise ModelError(f"{path} is missing; save the model's fast tokenizer there (vocab.txt is not read)")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for every fault in the file
        raise ModelError(f"{path} is not a tokenizer of the tokenizers library") from error


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
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}, byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
    if not text.strip():
        raise InputError(f"{name} is blank; remove it")
    return text
