"""A decoder as a client holds it: its public facts, its tokenizer, and how prompts become tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from privinf.drafts.ngrams import NgramDraft
from privinf.drafts.speculation import Draft, NoDraft, PromptLookup
from privinf.errors import ConfigError, InputError
from privinf.models import decoder_bundle
from privinf.models.text.control import Script
from privinf.models.text.prompts import SYSTEM, DecoderTokenizer, require_prefix
from privinf.protocols.contract import SessionShape
from privinf.sampling import Sampling
from privinf.sdk.completions import TokenStream
from privinf.sdk.generation import DRAFTS, Author, Passes, Wish, session_shape

if TYPE_CHECKING:
    from privinf.models.text.chat import ChatTemplate

Message = Mapping[str, str]
Prompt = str | Sequence[int]
NGRAMS = ".npz"  # how a file of counted runs ends
DRAFTERS: dict[str, Callable[[], Draft]] = {"none": NoDraft, "lookup": PromptLookup}


def make_wish(
    *,
    vocab: int,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    draft: Draft | str | None = None,
    drafts: int = DRAFTS,
    secure_argmax: bool = False,
    hide_accepted: bool = False,
) -> Wish:
    """How to continue, from the options of `Client.generate`; InputError for what cannot be."""
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, seed)
    drafter = draft_named(draft, vocab) if draft is None or isinstance(draft, str) else draft
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    wished = Wish(max_new_tokens, sampling, stops, drafter, drafts, secure_argmax, hide_accepted)
    return replace(wished, drafts=0) if isinstance(drafter, NoDraft) else wished


def draft_named(name: str | None, vocab: int) -> Draft:
    """A draft by its name, or one that `privinf draft` has written to a file."""
    if name and name.endswith(NGRAMS):
        return NgramDraft.load(name, vocab)
    if (name or "none") not in DRAFTERS:
        raise InputError(f"no draft {name!r}; choose one of {', '.join(DRAFTERS)}, or a file *{NGRAMS}")
    return DRAFTERS[name or "none"]()


class DecoderSide:
    """The client's directory of a shared decoder."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.bundle = decoder_bundle.read(directory, "client")
        self.tokenizer = DecoderTokenizer(directory, self.bundle.spec.vocab)

    @property
    def _first(self) -> int:
        """Tokens of the prefix that stand for no text."""
        return len(self.bundle.layout.plan.prefix) - len(self.tokenizer.encode(self.bundle.head))

    @cached_property
    def _template(self) -> ChatTemplate:
        from privinf.models.text.chat import ChatTemplate

        return ChatTemplate(self.bundle.directory, rules=self.tokenizer.rules)

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
            raise ConfigError("this model was shared for plain text, not for conversations: use generate")
        script = self._template.script(self._whole(messages), special_tokens=special_tokens)
        require_prefix(script.text, self.bundle.head.text)
        return self._after(script)

    def _whole(self, messages: Sequence[Message]) -> Sequence[Message]:
        system = self.bundle.directory / SYSTEM
        named = bool(messages) and isinstance(messages[0], Mapping) and messages[0].get("role") == "system"
        if named or not system.is_file() or not isinstance(messages, list | tuple):
            return messages
        return [{"role": "system", "content": system.read_bytes().decode("utf-8")}, *messages]

    def _after(self, whole: Script) -> list[int]:
        return self.tokenizer.after(whole, self.bundle.layout.plan.prefix, self._first)

    def shape(self, ids: Sequence[int], wish: Wish) -> SessionShape:
        """What the parties will be told of a session."""
        return session_shape(self.bundle.layout, ids, wish)

    def stream(
        self,
        ids: Sequence[int],
        wish: Wish,
        passes: Passes,
        end: Callable[[bool], None],
        timeout: float | None = None,
    ) -> TokenStream:
        """Tokens as they come; `end` is called once, and told whether all went well."""
        author = Author(self.bundle.layout, ids, wish, passes, timeout)
        decode, eos = self.tokenizer.decode, self.bundle.spec.eos
        return TokenStream(author, decode, wish.stop, eos, wish.max_new_tokens, end)
