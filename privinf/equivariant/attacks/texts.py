"""Reads text files as token ids: rows of a CSV's column `text`, else paragraphs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from privinf.equivariant.attacks.matching import Ids
from privinf.errors import FileError, InputError
from privinf.models.spec import ModelSpec
from privinf.models.text.control import ControlledTokenizer

COLUMN = "text"
BATCH = 256
ANY = "a"  # some text
LONGEST = 1 << 30  # characters of one cell


def tokens_of(files: Iterable[Path], model: Path, known: ModelSpec, limit: int) -> list[Ids]:
    """Token ids of each text as a client sends it: cut to what the model takes, with the tokenizer's special tokens,
    and without a chat template; so many tokens in all.

    Raises:
        InputError: a file is no text, or there is none in it.
    """
    rules, found, tokens = ControlledTokenizer(model / "tokenizer.json").rules, list[Ids](), 0
    rules.enable_truncation(known.max_tokens)
    for batch in _batches(text for path in files for text in _texts(path)):
        for encoding in rules.encode_batch(batch):
            found.append(np.array(encoding.ids, dtype=np.int64))
            tokens += len(found[-1])
        if tokens >= limit:
            break
    if not tokens:
        raise InputError("these files contain no text")
    return [text for text in found if len(text)]


def front(model: Path) -> Ids:
    """The special tokens that the tokenizer puts before every text."""
    encoding = ControlledTokenizer(model / "tokenizer.json").encode(ANY, whole=True)
    count = int(np.cumprod(encoding.special_tokens_mask).sum())
    return np.array(encoding.ids[:count], dtype=np.int64)


def halves(texts: Sequence[Ids]) -> tuple[list[Ids], list[Ids]]:
    """Every other text, and of those between the ones that are not among the first."""
    sent = list(texts[::2])
    known = {text.tobytes() for text in sent}
    public = [text for text in texts[1::2] if text.tobytes() not in known]
    if not public:
        raise InputError(
            "fewer than two different texts cannot be halved: give a file of several, with blank lines between"
        )
    return sent, public


def first(texts: Sequence[Ids], tokens: int) -> list[Ids]:
    """As many texts as hold so many tokens."""
    ends = np.cumsum([len(text) for text in texts])
    return list(texts[: int(np.searchsorted(ends, tokens)) + 1])


def _texts(path: Path) -> Iterator[str]:
    try:
        content = path.read_text("utf-8")
    except OSError as error:
        raise FileError.unread(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from error
    if path.suffix == ".csv":
        yield from _cells(content, path)
    else:
        yield from filter(None, (part.strip() for part in content.split("\n\n")))


def _cells(content: str, path: Path) -> Iterator[str]:
    csv.field_size_limit(LONGEST)
    rows = csv.DictReader(io.StringIO(content, newline=""))
    if COLUMN not in (rows.fieldnames or ()):
        raise InputError(f"{path} has no column {COLUMN!r} in its first line")
    yield from (row[COLUMN] for row in rows if row[COLUMN])


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    left = iter(texts)
    while batch := list(islice(left, BATCH)):
        yield batch
