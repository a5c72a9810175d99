"""Tokens of a generation for asyncio: each step waits in a thread, and a cancelled task frees the servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Self

from privinf.errors import InputError
from privinf.sdk.backend import Begin
from privinf.sdk.call import Call
from privinf.sdk.completions import Completion, GenerationUsage, Token, TokenStream
from privinf.sdk.threads import Threads


class AsyncTokenStream:
    """Iterate over it once; `close` it, or leave its `async with`, to drop what is under way."""

    def __init__(self, begin: Begin, call: Call, threads: Threads) -> None:
        self._begin, self._call, self._threads = begin, call, threads
        self._tokens: TokenStream | None = None
        self._begun = False

    @property
    def completion(self) -> Completion:
        """What came until now."""
        if self._tokens is None:
            return Completion("", (), "length", GenerationUsage())
        return self._tokens.completion

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


async def collect(tokens: AsyncTokenStream) -> Completion:
    """All of a continuation."""
    async for _ in tokens:
        pass
    return tokens.completion
