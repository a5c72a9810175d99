"""What is to be written to a stream, put by one thread and taken by gRPC's own."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from privinf.errors import PrivinfError

M = TypeVar("M")


class Outgoing(Generic[M]):
    """What is to be written to a stream; gRPC's own thread takes it from here, and stays until None is put."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[M | PrivinfError | None] = SimpleQueue()
        self.put = self._queue.put

    def __iter__(self) -> Iterator[M]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, PrivinfError):
                raise item
            yield item
