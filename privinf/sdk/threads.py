"""Blocking calls for asyncio: each waits in a thread, and a cancelled task drops what is under way at the servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from privinf.errors import ConnectError
from privinf.sdk.call import Call

# Of one client at once, those that pause before they ask again among them; others wait here.
ASYNC_CALLS: Final = 32
_STEPS: Final = 512  # of streams that have begun; more than servers have places for

T = TypeVar("T")


class Threads:
    """Threads of its own: what waits for a place must not hold those in which others work on."""

    def __init__(self) -> None:
        self._calls = ThreadPoolExecutor(ASYNC_CALLS, thread_name_prefix="privinf")
        self._steps = ThreadPoolExecutor(_STEPS, thread_name_prefix="privinf-step")
        self._closed = False

    async def run(self, work: Callable[[Call], T], call: Call) -> T:
        """What `work` gives for a call."""
        asked = time.monotonic()

        def begin() -> T:
            call.late = time.monotonic() - asked
            return work(call)

        try:
            return await self._in(self._calls, begin)
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def step(self, work: Callable[[], T]) -> T:
        """The next of something that has begun: it waits for no call that has not."""
        return await self._in(self._steps, work)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise ConnectError("this client is closed")
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        for pool in (self._calls, self._steps):
            pool.shutdown(wait=False)


async def aside(work: Callable[[], T]) -> T:
    """What `work` gives, in a thread that nothing else waits in."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="privinf-aside")
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)
