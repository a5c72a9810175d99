"""Turns the vocabulary in a GGUF file's settings into a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from privinf.errors import ModelError
from privinf.formats.tokenizers import byte_level, sentencepiece, start_with

NORMAL, UNKNOWN, CONTROL, ADDED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # types of tokens


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says about its tokenizer."""

    fields: Mapping[str, Any]

    @property
    def tokens(self) -> Sequence[str]:
        """All tokens, in the order of their ids."""
        return self._list("tokens", str)

    def rules(self) -> Tokenizer:
        """The tokenizer, which begins every text with the token that the file asks for."""
        kind = self._get("model")
        if kind not in ("gpt2", "llama"):
            raise ModelError(f"tokenizer.ggml.model {kind!r} is not supported; accepted: 'gpt2', 'llama'")
        if self._get("add_eos_token"):
            raise ModelError("tokenizer.ggml.add_eos_token is not supported: a prompt must stay open")
        rules = self._byte_level() if kind == "gpt2" else self._sentencepiece()
        bos = self._id("bos")
        if bos is not None and self._get("add_bos_token", kind == "llama"):
            start_with(rules, bos)
        return rules

    def special(self) -> dict[str, int]:
        """Ids of the tokens that have a name."""
        names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
        found = {ours: self._id(theirs) for ours, theirs in names.items()}
        return {name: index for name, index in found.items() if index is not None}

    def ends(self) -> tuple[int, ...]:
        """The tokens after which a text goes no further."""
        found = (self._id(name) for name in ("eos", "eot", "eom"))
        return tuple(dict.fromkeys(index for index in found if index is not None))

    def template(self) -> str | None:
        """The template of a conversation."""
        text = self.fields.get("tokenizer.chat_template")
        if text is not None and not isinstance(text, str):
            raise ModelError("tokenizer.chat_template is not text")
        return text

    def _byte_level(self) -> Tokenizer:
        merges, cut = self._list("merges", str), str(self._get("pre"))
        return byte_level(self.tokens, merges, cut, self._of_type(CONTROL), self._of_type(ADDED))

    def _sentencepiece(self) -> Tokenizer:
        unknown = self._id("unknown") or 0
        scores, plain = self._list("scores", float), self._of_type(NORMAL)
        control = sorted({*self._of_type(CONTROL), unknown})
        prefix = bool(self._get("add_space_prefix", True))
        return sentencepiece(self.tokens, scores, control, unknown=unknown, plain=plain, dummy_prefix=prefix)

    def _of_type(self, kind: int) -> list[int]:
        return [index for index, given in enumerate(self._list("token_type", int)) if given == kind]

    def _get(self, name: str, default: object = None) -> Any:
        return self.fields.get(f"tokenizer.ggml.{name}", default)

    def _list(self, name: str, kind: type) -> list[Any]:
        values = self._get(name)
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise ModelError(f"tokenizer.ggml.{name} is not a list of {kind.__name__}")
        if name != "merges" and len(values) != len(self._get("tokens")):
            raise ModelError(f"tokenizer.ggml.{name} has {len(values)} entries, not one for each token")
        return values

    def _id(self, name: str) -> int | None:
        index = self._get(f"{name}_token_id")
        if index is not None and (not isinstance(index, int) or not 0 <= index < len(self.tokens)):
            raise ModelError(f"tokenizer.ggml.{name}_token_id {index!r} is not a token")
        return index
