"""Tokens of a generation for asyncio: each step waits in a thread, and a cancelled task frees the servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Generic, Self, TypeVar

from privinf.errors import InputError
from privinf.sdk.call import Call
from privinf.sdk.completions import Completion, Token, TokenStream
from privinf.sdk.several import NOTHING, BatchStream
from privinf.sdk.threads import Threads

Stream = TypeVar("Stream", TokenStream, BatchStream)


class _AsyncTokens(Generic[Stream]):
    """Iterate over it once; `close` it, or leave its `async with`, to drop what is under way."""

    def __init__(self, begin: Callable[[Call], Stream], call: Call, threads: Threads) -> None:
        self._begin: Callable[[Call], Stream] = begin
        self._call, self._threads = call, threads
        self._tokens: Stream | None = None
        self._begun = False

    def __aiter__(self) -> AsyncIterator[Token]:
        return self._run()

    async def _run(self) -> AsyncIterator[Token]:
        if self._begun:
            raise InputError("a stream of tokens can only be iterated once: ask again")
        self._begun = True
        if self._call.dropped:
            return
        try:
            self._tokens = await self._threads.run(self._begin, self._call)
            while (token := await self._threads.step(partial(next, self._tokens, None))) is not None:
                yield token
        finally:
            self.close()

    def close(self) -> None:
        """Drop the generation at the servers, if it is not over; idempotent and immediate."""
        if self._tokens is None or not self._tokens.over:
            self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.close()


class AsyncTokenStream(_AsyncTokens[TokenStream]):
    """Tokens of one answer."""

    @property
    def completion(self) -> Completion:
        """What came until now."""
        return NOTHING if self._tokens is None else self._tokens.completion


class AsyncBatchStream(_AsyncTokens[BatchStream]):
    """Tokens of several answers, each with its prompt's `index`."""

    @property
    def completions(self) -> list[Completion]:
        """What came until now, of each prompt; nothing before the first token."""
        return [] if self._tokens is None else self._tokens.completions


async def collect(tokens: AsyncTokenStream | AsyncBatchStream) -> Completion | list[Completion]:
    """All of a continuation, or of several."""
    async for _ in tokens:
        pass
    return tokens.completions if isinstance(tokens, AsyncBatchStream) else tokens.completion
