"""A covered decoder as its client holds it: how prompts and conversations become tokens, and how to continue them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from privinf.equivariant.asking.own_part import client_part
from privinf.equivariant.key import KeyAbout
from privinf.errors import InputError, ModelError
from privinf.models.source.reading import read_object
from privinf.models.text.prompts import DecoderTokenizer
from privinf.sdk.backend import Message, Prompt, no_chat


class DecoderRules(DecoderTokenizer):
    """A decoder's tokenizer, which adds the special tokens of its own to a plain prompt."""

    def begun(self, text: str, special_tokens: bool) -> list[int]:
        """Tokens of a text that stands at the beginning."""
        return list(self.rules.encode(self.script(text, special_tokens), whole=True).ids)

    def require(self, token: int, what: str) -> None:
        """Refuse a tokenizer that lacks a special token of the model."""
        if self.rules.text_of(token) is None:
            raise ModelError(
                f"tokenizer.json has no token {token}, which config.json names as {what}: copy the model's own"
            )


class PromptSide:
    """The client's directory of a covered decoder."""

    def __init__(self, folder: Path, about: KeyAbout) -> None:
        self._folder, self._about = folder, about
        spec, self.own = client_part(folder, about)
        self.tokenizer, self.eos = DecoderRules(folder, about.vocab), spec.generator.eos
        for token in self.eos:
            self.tokenizer.require(token, "eos_token_id")
        if spec.generator.bos is not None:
            self.tokenizer.require(spec.generator.bos, "bos_token_id")
        self.chat = _has_template(folder)

    def prompt(self, prompt: Prompt, raw: bool, special_tokens: bool = False) -> list[int]:
        """Tokens of a prompt; a text is a user's message where there is a chat template, unless it is `raw`."""
        if not isinstance(prompt, str):
            return self._fitting(self.tokenizer.known(prompt))
        if prompt and self.chat and not raw:
            return self.conversation([{"role": "user", "content": prompt}], special_tokens)
        return self._fitting(self.tokenizer.begun(prompt, special_tokens) if prompt else [])

    def conversation(self, messages: Sequence[Message], special_tokens: bool = False) -> list[int]:
        """Tokens of a conversation up to where the answer begins."""
        if not self.chat:
            raise no_chat(self._folder)
        from privinf.models.text.chat import ChatTemplate

        template = ChatTemplate(self._folder, rules=self.tokenizer.rules)
        return self._fitting(self.tokenizer.encode(template.script(messages, special_tokens=special_tokens)))

    def _fitting(self, ids: list[int]) -> list[int]:
        if not ids:
            raise InputError("the prompt is empty: a continuation needs at least one token")
        if len(ids) > self._about.context:
            raise InputError(
                f"the prompt has {len(ids)} tokens and the model takes {self._about.context}: shorten it"
            )
        return ids


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_object(config).get("chat_template"))
