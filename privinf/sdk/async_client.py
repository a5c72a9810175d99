"""The SDK for asyncio: the same questions in every mode, each of which may be cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Self, Unpack

from privinf.options import chosen
from privinf.sdk.answers import Classification, Embeddings
from privinf.sdk.async_tokens import AsyncTokenStream, collect
from privinf.sdk.backend import Begin, Conversation, Items, Message, Prompt, Texts
from privinf.sdk.base_client import BaseClient
from privinf.sdk.call import Call, Progress
from privinf.sdk.completions import Completion
from privinf.sdk.options import GenerationKeywords, Reading, ReadingKeywords
from privinf.sdk.threads import Threads, aside
from privinf.sdk.transport import PartyStatus


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

    async def generate(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion:
        """Continue a prompt; options as for `Client.generate`. A cancelled call frees the servers."""
        tokens = self.stream(prompt, raw=raw, special_tokens=special_tokens, timeout=timeout, **options)
        return await collect(tokens)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> Completion:
        """Answer a conversation; options as for `Client.generate`."""
        tokens = self.stream_chat(messages, special_tokens=special_tokens, timeout=timeout, **options)
        return await collect(tokens)

    def stream(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> AsyncTokenStream:
        """Iterate over the tokens of a continuation: `async for token in client.stream(...)`."""
        return self._streamed(self._read(prompt, raw, special_tokens, options), timeout)

    def stream_chat(
        self,
        messages: Sequence[Message],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        **options: Unpack[GenerationKeywords],
    ) -> AsyncTokenStream:
        """Iterate over the tokens of an answer to a conversation."""
        return self._streamed(self._read(Conversation(messages), False, special_tokens, options), timeout)

    def _streamed(self, begin: Begin, timeout: float | None) -> AsyncTokenStream:
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
