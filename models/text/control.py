"""Tokenizers whose control tokens no text can spell: only who asks for one by its hidden name gets it."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from privinf.errors import FileError, ModelError

Range = tuple[int, int]  # characters of a text, the end excluded


@dataclass(frozen=True)
class Script:
    """A text, and where in it control tokens are meant: elsewhere it may spell them and means the characters."""

    text: str = field(repr=False)
    control: tuple[Range, ...] = ()

    def __add__(self, more: Script) -> Script:
        by = len(self.text)
        moved = ((start + by, end + by) for start, end in more.control)
        return Script(self.text + more.text, (*self.control, *moved))


class ControlledTokenizer:
    """A tokenizer.json without its padding and truncation, whose special tokens answer to hidden names alone.

    In plain text "<|im_end|>" is then ten characters like any others, whatever kind of tokenizer it is: neither its
    list of added tokens nor its vocabulary holds that text any longer. `marked` puts the hidden name where the control
    token itself is meant; all else is as it was: ids, normalisation, what becomes of the space beside a special token.
    """

    def __init__(self, path: str | os.PathLike[str], *, lower: bool = False) -> None:
        content = _read(Path(path))
        self.names = {
            token: f"\ue000{secrets.token_hex(16)}\ue001" for token in _special(content, Path(path))
        }
        self._hidden = {name: text for text, name in self.names.items()}
        self._spelled = _pattern(content, self.names)
        try:
            self.rules = tokenizers.Tokenizer.from_str(json.dumps(_renamed(content, self.names)))
        except Exception as error:  # the library raises bare Exception for every fault in the file
            raise ModelError(f"{path} is not a tokenizer of the tokenizers library") from error
        self.rules.no_truncation()
        self.rules.no_padding()
        if lower:  # first, as sentence-transformers does it where a model's files ask for it
            steps = (tokenizers.normalizers.Lowercase(), self.rules.normalizer)
            self.rules.normalizer = tokenizers.normalizers.Sequence([s for s in steps if s is not None])

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.rules.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def text_of(self, token: int) -> str | None:
        """How a token is written, a control token by its own name; None for one that is not known."""
        found = self.rules.id_to_token(token)
        return None if found is None else self._hidden.get(found, found)

    def places(self, text: str) -> Iterator[Range]:
        """Where a text spells control tokens, from left to right, of two that begin alike the longer one."""
        return (found.span() for found in self._spelled.finditer(text))

    def script(self, text: str) -> Script:
        """The text, with a control token wherever it spells one."""
        return Script(text, tuple(self.places(text)))

    def marked(self, script: Script) -> str:
        """The text with hidden names where control tokens are meant."""
        pieces, at = [], 0
        for start, end in script.control:
            pieces += [script.text[at:start], self.names[script.text[start:end]]]
            at = end
        return "".join((*pieces, script.text[at:]))

    def unmarked(self, marked: str) -> Script:
        """The inverse of `marked`."""
        script = Script("")
        for piece in re.split("(\ue000[0-9a-f]{32}\ue001)", marked):
            text = self._hidden.get(piece)
            script += Script(piece) if text is None else Script(text, ((0, len(text)),))
        return script

    def encode(self, script: Script | str, *, whole: bool = False) -> tokenizers.Encoding:
        """Tokens of a text; `whole` adds those that the tokenizer itself puts around one."""
        text = script if isinstance(script, str) else self.marked(script)
        return self.rules.encode(text, add_special_tokens=whole)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path} is missing; save the model's fast tokenizer there (vocab.txt is not read)")
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FileError.unread(path, error) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ModelError(f"{path} is not a tokenizer of the tokenizers library")
    return content


def _special(content: Mapping[str, Any], path: Path) -> list[str]:
    """The texts of the special tokens, some of which may be in the vocabulary too."""
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise ModelError(f"{path} is not a tokenizer of the tokenizers library")
    texts = [token.get("content") for token in added if token.get("special")]
    return [text for text in texts if isinstance(text, str) and text]


def _pattern(content: Mapping[str, Any], names: Iterable[str]) -> re.Pattern[str]:
    """Finds the special tokens as the library does: from left to right, the longest, some only as whole words."""
    words = {token["content"] for token in content.get("added_tokens") or [] if token.get("single_word")}
    longest = sorted(names, key=len, reverse=True)
    spelled = [rf"(?<!\w){re.escape(t)}(?!\w)" if t in words else re.escape(t) for t in longest]
    return re.compile("|".join(spelled) or r"(?!)")


def _renamed(content: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The same file with those tokens under other names, wherever it speaks of them by their text."""
    model = dict(content["model"])
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(text, text): number for text, number in vocab.items()}
    elif isinstance(vocab, list):  # pairs of text and score
        model["vocab"] = [[names.get(piece[0], piece[0]), *piece[1:]] for piece in vocab]
    if isinstance(unknown := model.get("unk_token"), str):
        model["unk_token"] = names.get(unknown, unknown)
    if isinstance(model.get("merges"), list):
        model["merges"] = [merge for merge in model["merges"] if not _makes(merge, names)]
    added = [
        token | {"content": names[token["content"]]} if token.get("content") in names else token
        for token in content.get("added_tokens") or []
    ]
    return content | {"model": model, "added_tokens": added}


def _makes(merge: Any, names: Mapping[str, str]) -> bool:
    """Whether two pieces merge to a control token or with one, which no text holds any more."""
    parts = merge.split(" ") if isinstance(merge, str) else list(merge)
    return "".join(parts) in names or any(part in names for part in parts)
