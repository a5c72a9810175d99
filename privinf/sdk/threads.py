"""Blocking calls for asyncio: each waits in a thread, and a cancelled task drops what is under way at the servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from privinf.sdk.call import Call

ASYNC_CALLS: Final = 32  # of one client at once; others wait here

T = TypeVar("T")


class Threads:
    """Threads of its own: what waits for a place must not hold those in which others work on."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(ASYNC_CALLS, thread_name_prefix="privinf")

    async def run(self, work: Callable[[Call], T], call: Call) -> T:
        """What `work` gives for a call."""
        asked = time.monotonic()

        def begin() -> T:
            call.late = time.monotonic() - asked
            return work(call)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, begin)
        except asyncio.CancelledError:
            call.cancel()
            raise

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False)
