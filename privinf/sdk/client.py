"""The SDK: private embeddings, classes and texts, asked of servers that learn neither question nor answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, Unpack, overload

from privinf.options import chosen
from privinf.sdk.answers import Classification, Embeddings
from privinf.sdk.backend import Items, Messages, Prompt, Prompts, Texts
from privinf.sdk.base_client import BaseClient, talks
from privinf.sdk.call import Call, Progress
from privinf.sdk.completions import Completion, TokenStream
from privinf.sdk.options import (
    AnsweringKeywords,
    GenerationKeywords,
    OwnKeywords,
    Reading,
    ReadingKeywords,
    WritingKeywords,
)
from privinf.sdk.several import BatchStream
from privinf.sdk.standing import PartyStatus


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
        """Classify texts with the model's head, options as for `embed`; or what a model of images sees in pictures.

        Pictures are paths, Pillow images or arrays of bytes (height, width, channels). Or all of them are an array of
        floats (pictures, channels, height, width) as the model's processor gives them: the equivariant mode takes
        no others.
        """
        return self._backend.classify(texts, chosen(Reading, reading), Call(timeout, progress))

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return self._backend.status()

    @overload
    def generate(self, prompt: Prompt, **options: Unpack[WritingKeywords]) -> Completion: ...
    @overload
    def generate(self, prompt: Prompts, **options: Unpack[WritingKeywords]) -> list[Completion]: ...
    def generate(
        self,
        prompt: Prompt | Prompts,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion | list[Completion]:
        """Continue a prompt; or several, which advance together, so that a pass takes the rounds of one.

        Args:
            prompt: a text, or token ids that are taken as they are; or a list of such prompts, whose answers come in
                the same order, each as it would be alone. A model for conversations takes a text as a user's message,
                unless it is `raw`.
            special_tokens: let a text or a message mean the control tokens that it spells, such as "<|im_end|>", which
                are mere characters otherwise. Never for text of others. Those of the chat template count always.
            timeout: seconds for each pass, and for the place before the first; in the equivariant mode for all of it.
            each: options of each of several prompts: sampling, seed, max_new_tokens and stop, where they differ.
            options: those of `GenerationOptions`, such as max_new_tokens and temperature (0 is greedy); draft is
                "lookup", a file of `privinf draft`, or an object with `propose`.

        Raises:
            InputError: an empty prompt, one that is too long, a token that is none, an option out of range.
        """
        return whole(self._read(prompt, raw, special_tokens, each, options)(Call(timeout)))

    @overload
    def chat(self, messages: Messages, **options: Unpack[AnsweringKeywords]) -> Completion: ...
    @overload
    def chat(
        self, messages: Sequence[Messages], **options: Unpack[AnsweringKeywords]
    ) -> list[Completion]: ...
    def chat(
        self,
        messages: Messages | Sequence[Messages],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion | list[Completion]:
        """Answer a conversation, a list of {"role": ..., "content": ...}, or a list of them; as for `generate`."""
        return whole(self._read(talks(messages), False, special_tokens, each, options)(Call(timeout)))

    @overload
    def stream(self, prompt: Prompt, **options: Unpack[WritingKeywords]) -> TokenStream: ...
    @overload
    def stream(self, prompt: Prompts, **options: Unpack[WritingKeywords]) -> BatchStream: ...
    def stream(
        self,
        prompt: Prompt | Prompts,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> TokenStream | BatchStream:
        """Continue a prompt token by token: `for token in client.stream(...)`; options as for `generate`.

        Of several prompts a token's `index` says whose it is.
        """
        return self._read(prompt, raw, special_tokens, each, options)(Call(timeout))

    @overload
    def stream_chat(self, messages: Messages, **options: Unpack[AnsweringKeywords]) -> TokenStream: ...
    @overload
    def stream_chat(
        self, messages: Sequence[Messages], **options: Unpack[AnsweringKeywords]
    ) -> BatchStream: ...
    def stream_chat(
        self,
        messages: Messages | Sequence[Messages],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> TokenStream | BatchStream:
        """Answer a conversation token by token, or several."""
        return self._read(talks(messages), False, special_tokens, each, options)(Call(timeout))

    def close(self) -> None:
        """Release the connections; idempotent."""
        self._backend.close()

    def __enter__(self) -> Self:
        self._backend.connect()
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def whole(tokens: TokenStream | BatchStream) -> Completion | list[Completion]:
    """All of a continuation, or of several."""
    with tokens:
        for _ in tokens:
            pass
    return tokens.completions if isinstance(tokens, BatchStream) else tokens.completion
