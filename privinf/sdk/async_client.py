"""The SDK for asyncio: the same questions in every mode, each of which may be cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Self, Unpack, overload

from privinf.options import chosen
from privinf.sdk.answers import Classification, Embeddings
from privinf.sdk.async_tokens import AsyncBatchStream, AsyncTokenStream, collect
from privinf.sdk.backend import Begin, Items, Messages, Prompt, Prompts, Texts
from privinf.sdk.base_client import BaseClient, talks
from privinf.sdk.call import Call, Progress
from privinf.sdk.completions import Completion
from privinf.sdk.options import (
    AnsweringKeywords,
    GenerationKeywords,
    OwnKeywords,
    Reading,
    ReadingKeywords,
    WritingKeywords,
)
from privinf.sdk.several import BeginAll
from privinf.sdk.standing import PartyStatus
from privinf.sdk.threads import Threads, aside


class AsyncClient(BaseClient):
    """`Client` for asyncio; a cancelled call is dropped at the servers."""

    @cached_property
    def _threads(self) -> Threads:
        return Threads()

    async def embed(
        self,
        texts: Texts,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        **reading: Unpack[ReadingKeywords],
    ) -> Embeddings:
        """Embed a text or several; options as for `Client.embed`, but `progress` is called in another thread."""
        work = partial(self._backend.embed, texts, chosen(Reading, reading))
        return await self._threads.run(work, Call(timeout, progress))

    async def classify(
        self,
        texts: Items,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        **reading: Unpack[ReadingKeywords],
    ) -> Classification:
        """Classify texts, or images, with the model's head; options as for `Client.embed`."""
        work = partial(self._backend.classify, texts, chosen(Reading, reading))
        return await self._threads.run(work, Call(timeout, progress))

    async def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return await aside(self._backend.status)

    @overload
    async def generate(self, prompt: Prompt, **options: Unpack[WritingKeywords]) -> Completion: ...
    @overload
    async def generate(self, prompt: Prompts, **options: Unpack[WritingKeywords]) -> list[Completion]: ...
    async def generate(
        self,
        prompt: Prompt | Prompts,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion | list[Completion]:
        """Continue a prompt, or several; options as for `Client.generate`. A cancelled call frees the servers."""
        begin = self._read(prompt, raw, special_tokens, each, options)
        return await collect(self._streamed(begin, timeout))

    @overload
    async def chat(self, messages: Messages, **options: Unpack[AnsweringKeywords]) -> Completion: ...
    @overload
    async def chat(
        self, messages: Sequence[Messages], **options: Unpack[AnsweringKeywords]
    ) -> list[Completion]: ...
    async def chat(
        self,
        messages: Messages | Sequence[Messages],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion | list[Completion]:
        """Answer a conversation, or several; options as for `Client.generate`."""
        begin = self._read(talks(messages), False, special_tokens, each, options)
        return await collect(self._streamed(begin, timeout))

    @overload
    def stream(self, prompt: Prompt, **options: Unpack[WritingKeywords]) -> AsyncTokenStream: ...
    @overload
    def stream(self, prompt: Prompts, **options: Unpack[WritingKeywords]) -> AsyncBatchStream: ...
    def stream(
        self,
        prompt: Prompt | Prompts,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> AsyncTokenStream | AsyncBatchStream:
        """Iterate over the tokens of a continuation, or of several: `async for token in client.stream(...)`."""
        return self._streamed(self._read(prompt, raw, special_tokens, each, options), timeout)

    @overload
    def stream_chat(self, messages: Messages, **options: Unpack[AnsweringKeywords]) -> AsyncTokenStream: ...
    @overload
    def stream_chat(
        self, messages: Sequence[Messages], **options: Unpack[AnsweringKeywords]
    ) -> AsyncBatchStream: ...
    def stream_chat(
        self,
        messages: Messages | Sequence[Messages],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        each: Sequence[OwnKeywords] | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> AsyncTokenStream | AsyncBatchStream:
        """Iterate over the tokens of an answer to a conversation, or of answers to several."""
        return self._streamed(self._read(talks(messages), False, special_tokens, each, options), timeout)

    def _streamed(
        self, begin: Begin | BeginAll, timeout: float | None
    ) -> AsyncTokenStream | AsyncBatchStream:
        if isinstance(begin, BeginAll):
            return AsyncBatchStream(begin, Call(timeout), self._threads)
        return AsyncTokenStream(begin, Call(timeout), self._threads)

    async def close(self) -> None:
        """Release the connections; queries under way are dropped."""
        await aside(self._backend.close)
        self._threads.close()

    async def __aenter__(self) -> Self:
        await aside(self._backend.connect)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()
