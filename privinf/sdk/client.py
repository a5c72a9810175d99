"""The SDK: private embeddings, classes and texts, asked of servers that learn neither question nor answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, Unpack

from privinf.options import chosen
from privinf.sdk.answers import Classification, Embeddings
from privinf.sdk.backend import Conversation, Items, Message, Prompt, Texts
from privinf.sdk.base_client import BaseClient
from privinf.sdk.call import Call, Progress
from privinf.sdk.completions import Completion, TokenStream
from privinf.sdk.options import GenerationKeywords, Reading, ReadingKeywords
from privinf.sdk.transport import PartyStatus


class Client(BaseClient):
    """Asks the servers of a model; a context manager.

    Errors are those of `privinf.errors`; a failed query is never resent, as its shares must not be used twice: call
    again.
    """

    def embed(
        self,
        texts: Texts,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        **reading: Unpack[ReadingKeywords],
    ) -> Embeddings:
        """Embed a text or several.

        Args:
            texts: their vectors come in the same order; one text is a list of one.
            timeout: the deadline of each query in seconds.
            progress: is told of texts done.
            reading: truncate (cut texts that are longer than the model takes, instead of refusing them), prompt_name
                (which of the model's prompts goes before each text; by default the one that the model names),
                special_tokens (let "[SEP]" in a text be the control token and not five characters; never for text of
                others).
        """
        return self._backend.embed(texts, chosen(Reading, reading), Call(timeout, progress))

    def classify(
        self,
        texts: Items,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        **reading: Unpack[ReadingKeywords],
    ) -> Classification:
        """Classify texts with the model's head; options as for `embed`.

        In the equivariant mode also images (images, channels, height, width), as the model's processor gives them.
        """
        return self._backend.classify(texts, chosen(Reading, reading), Call(timeout, progress))

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return self._backend.status()

    def generate(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion:
        """Continue a prompt.

        Args:
            prompt: a text, or token ids that are taken as they are. A model for conversations takes a text as a user's
                message, unless it is `raw`.
            special_tokens: let a text or a message mean the control tokens that it spells, such as "<|im_end|>", which
                are mere characters otherwise. Never for text of others. Those of the chat template count always.
            timeout: seconds for each pass, and for the place before the first; in the equivariant mode for all of it.
            options: those of `GenerationOptions`, such as max_new_tokens and temperature (0 is greedy); draft is
                "lookup", a file of `privinf draft`, or an object with `propose`.

        Raises:
            InputError: an empty prompt, one that is too long, a token that is none, an option out of range.
        """
        return whole(self.stream(prompt, raw=raw, special_tokens=special_tokens, timeout=timeout, **options))

    def chat(
        self,
        messages: Sequence[Message],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion:
        """Answer a conversation, a list of {"role": ..., "content": ...}; the rest is as for `generate`."""
        return whole(self.stream_chat(messages, special_tokens=special_tokens, timeout=timeout, **options))

    def stream(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> TokenStream:
        """Continue a prompt token by token: `for token in client.stream(...)`; options as for `generate`."""
        return self._read(prompt, raw, special_tokens, options)(Call(timeout))

    def stream_chat(
        self,
        messages: Sequence[Message],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> TokenStream:
        """Answer a conversation token by token."""
        return self._read(Conversation(messages), False, special_tokens, options)(Call(timeout))

    def close(self) -> None:
        """Release the connections; idempotent."""
        self._backend.close()

    def __enter__(self) -> Self:
        self._backend.connect()
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def whole(tokens: TokenStream) -> Completion:
    """All of a continuation."""
    with tokens:
        for _ in tokens:
            pass
    return tokens.completion
