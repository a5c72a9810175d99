"""Several prompts asked at once: which of them advance together, and their tokens as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from privinf.sdk.call import Call
from privinf.sdk.completions import Abreast, Completion, GenerationUsage, Token

NOTHING = Completion("", (), "length", GenerationUsage())  # of a prompt whose turn has not come


@dataclass(frozen=True)
class Part:
    """Prompts that advance together: their places among all that were asked at once, and what begins to ask them."""

    places: tuple[int, ...]
    begin: Callable[[Call], Abreast]


@dataclass(frozen=True)
class BeginAll:
    """Asks for several prompts that were read: once it is called, it is decided which of them advance together."""

    parts: Callable[[Call], Sequence[Part]]

    def __call__(self, call: Call) -> BatchStream:
        """Wait for a place for the first part."""
        return BatchStream(self.parts(call), call)


def groups(lengths: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Places of prompts, at most so many in each group, and of lengths near each other where there are several."""
    count = -(-len(lengths) // most)
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    ends = [len(lengths) * part // count for part in range(count + 1)]
    return [tuple(sorted(ordered[a:b])) for a, b in pairwise(ends)]


class BatchStream:
    """Iterates over tokens of several answers as they come, each with its prompt's `index`; `close` leaves all of them.

    One part after the other is asked. Afterwards `completions` are what there was of the answers, in their order.
    """

    def __init__(self, parts: Sequence[Part], call: Call) -> None:
        self._left, self._call = deque(parts), call
        self._done = [NOTHING] * sum(len(part.places) for part in parts)
        self._ended = set[int]()  # whose last token has been read
        self._places: tuple[int, ...] = ()
        self._now: Abreast | None = None
        self._begin()

    @property
    def over(self) -> bool:
        """Whether the servers are free of it."""
        return not self._left and (self._now is None or self._now.over)

    @property
    def completions(self) -> list[Completion]:
        """What came until now, of each prompt."""
        self._note()
        return list(self._done)

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        while self._now is not None:
            token = next(self._now, None)
            if token is not None:
                place = self._places[token.index]
                if self._now.finished(token.index):
                    self._ended.add(place)
                return replace(token, index=place)
            self._ended.update(self._places)
            self._begin()
        raise StopIteration

    def ended(self) -> Iterator[tuple[int, Completion]]:
        """Read to the end, and give each answer with its prompt's index once it has ended, in that order."""
        said = set[int]()
        more = True
        while more:
            more = next(self, None) is not None
            for place in sorted(self._ended - said):
                said.add(place)
                yield place, self.completions[place]

    def close(self) -> None:
        """Drop what is under way, and ask nothing more; idempotent."""
        self._left.clear()
        if self._now is not None:
            self._now.close()

    def _begin(self) -> None:
        """Ask the next part, if there is one."""
        self._note()
        self._now = None
        if self._left:
            part = self._left.popleft()
            self._places, self._now = part.places, part.begin(self._call)

    def _note(self) -> None:
        """Keep what came of the part under way."""
        if self._now is not None:
            for place, completion in zip(self._places, self._now.completions, strict=True):
                self._done[place] = completion

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
