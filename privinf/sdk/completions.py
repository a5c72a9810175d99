"""What a generation gives its caller: tokens as they come, and the whole with what it took."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from privinf.sdk.decoding import PassTokens
from privinf.sdk.options import GenerationOptions
from privinf.sdk.stops import Reason, TextStream
from privinf.sdk.usage import Took


@dataclass(frozen=True, kw_only=True)
class GenerationUsage(Took):
    """What a generation took.

    `first_seconds` passed until the first token. `tokens` counts those that a stop cuts off in the last pass too.
    `drafted` tokens were proposed, `accepted` of them right.
    """

    tokens: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    first_seconds: float = 0.0
    session_id: str = ""

    def __str__(self) -> str:
        drafted = f", {self.accepted} of {self.drafted} drafts right" if self.drafted else ""
        return (
            f"{self.seconds:.1f} s, the first after {self.first_seconds:.1f} s{drafted}; {self.passes} passes,"
            f" {self.rounds} rounds, {self.online_bytes / 1e6:.1f} MB sent by a party,"
            f" {self.offline_bytes / 1e6:.1f} MB offline to both"
        )

    def plus(self, written: PassTokens) -> Self:
        """Add the passes of one step."""
        took = self.counting(written.stats)
        return replace(
            took,
            tokens=self.tokens + len(written.tokens),
            passes=self.passes + len(written.stats),
            drafted=self.drafted + written.drafted,
            accepted=self.accepted + written.accepted,
            first_seconds=self.first_seconds or took.seconds,
            session_id=written.stats[-1].session_id,
        )


@dataclass(frozen=True)
class Token:
    """One token: its id, the text that it completes (often empty amid a character), what was spent so far.

    The last may have no id: it is text that was held back until it was clear how the answer ends.
    """

    id: int | None = field(repr=False)
    text: str = field(repr=False)
    stats: GenerationUsage

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Completion:
    """A continuation.

    `finish_reason` is eos, stop, length (as many tokens as were asked for, or left early), or full: the session or the
    model holds no more tokens than these.
    """

    text: str = field(repr=False)
    tokens: tuple[int, ...] = field(repr=False)
    finish_reason: Reason
    stats: GenerationUsage

    def __str__(self) -> str:
        return self.text


class TokenStream:
    """Iterates over tokens as they come; leaving it early, or `close`, frees both parties at once.

    Afterwards `completion` is what there was of the answer, its text without what follows a stop sequence. `over` says
    whether the parties are free of it.
    """

    def __init__(
        self,
        steps: Iterable[PassTokens],
        decode: Callable[[Sequence[int]], str],
        options: GenerationOptions,
        eos: Collection[int],
        end: Callable[[bool], None],
        usage: GenerationUsage | None = None,
    ) -> None:
        self._text = TextStream(decode, options.stops, eos)
        self._end, self._most = end, options.max_new_tokens
        self._steps = iter(steps)
        self._made = 0
        self._ready: deque[Token] = deque()
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self.stats = usage or GenerationUsage()
        self.over = self._full = False

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        # No generator of this object's own: it would refer to itself, and one forgotten would free no party.
        while not self._ready:
            if self.over:
                raise StopIteration
            self._advance()
        token = self._ready.popleft()
        if token.id is not None:
            self._ids.append(token.id)
        self._pieces.append(token.text)
        return token

    def close(self) -> None:
        """Drop the generation, if it is not over; idempotent."""
        self._ready.clear()
        self._finish(False)

    @property
    def completion(self) -> Completion:
        """What came until now."""
        reason: Reason = "full" if self._full else self._text.reason or "length"
        return Completion("".join(self._pieces), tuple(self._ids), reason, self.stats)

    def _advance(self) -> None:
        """Take one more step, and make its tokens ready."""
        try:
            written = next(self._steps, None)
        except BaseException:
            self._finish(False)
            raise
        if written is not None:
            self._read(written)
        else:
            self._full = self._text.reason is None and self._made < self._most
        if written is None or self._text.reason is not None or self._made >= self._most:
            self._complete()

    def _read(self, written: PassTokens) -> None:
        self.stats = self.stats.plus(written)
        for token in written.tokens[: self._most - self._made]:
            self._ready.append(Token(token, self._text.push(token), self.stats))
            self._made += 1
            if self._text.reason is not None:
                return

    def _complete(self) -> None:
        """No further pass is needed: the parties are free before the last token is read."""
        if self._text.reason is None and (rest := self._text.finish()):
            self._ready.append(Token(None, rest, self.stats))
        self._finish(True)

    def _finish(self, clean: bool) -> None:
        if not self.over:
            self.over = True
            self._end(clean)

    def __enter__(self) -> TokenStream:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "over", True):
            self._finish(False)
