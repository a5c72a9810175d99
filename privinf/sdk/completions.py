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
    `drafted` tokens were proposed, `accepted` of them right. Where `batch` prompts advance together, all of them share
    one session: passes, rounds, seconds and bytes are those of all together, up to this answer's end.
    """

    tokens: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    first_seconds: float = 0.0
    session_id: str = ""
    batch: int = 1

    def __str__(self) -> str:
        drafted = f", {self.accepted} of {self.drafted} drafts right" if self.drafted else ""
        shared = f" of {self.batch} prompts" if self.batch > 1 else ""
        return (
            f"{self.seconds:.1f} s, the first after {self.first_seconds:.1f} s{drafted}; {self.passes} passes{shared},"
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

    The last may have no id: it is text that was held back until it was clear how the answer ends. `index` is the place
    of its prompt among those asked together.
    """

    id: int | None = field(repr=False)
    text: str = field(repr=False)
    stats: GenerationUsage
    index: int = 0

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


class Growing:
    """One answer as it grows: its text, its tokens, and whether more is to come."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        options: GenerationOptions,
        eos: Collection[int],
        usage: GenerationUsage | None = None,
        index: int = 0,
    ) -> None:
        self._text = TextStream(decode, options.stops, eos)
        self._most, self._index, self._made = options.max_new_tokens, index, 0
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self.stats = usage or GenerationUsage()
        self.over = self._full = False

    def read(self, written: PassTokens) -> Iterator[Token]:
        """What one more pass adds, at last with the text that was held back."""
        self.stats = self.stats.plus(written)
        for token in written.tokens[: self._most - self._made]:
            yield Token(token, self._text.push(token), self.stats, self._index)
            self._made += 1
            if self._text.reason is not None:
                break
        if self._text.reason is not None or self._made >= self._most:
            yield from self._complete()

    def end(self) -> Iterator[Token]:
        """No pass comes any more: the session is full."""
        self._full = self._text.reason is None and self._made < self._most
        yield from self._complete()

    def _complete(self) -> Iterator[Token]:
        if self._text.reason is None and (rest := self._text.finish()):
            yield Token(None, rest, self.stats, self._index)
        self.over = True

    def take(self, token: Token) -> None:
        """It is handed out."""
        if token.id is not None:
            self._ids.append(token.id)
        self._pieces.append(token.text)

    @property
    def completion(self) -> Completion:
        """What came until now."""
        reason: Reason = "full" if self._full else self._text.reason or "length"
        return Completion("".join(self._pieces), tuple(self._ids), reason, self.stats)


class Abreast:
    """Iterates over the tokens of answers that advance together; leaving it early, or `close`, frees both parties.

    drop: is told which answer needs no further pass while others do. `over` says whether the parties are free of it.
    """

    def __init__(
        self,
        steps: Iterable[Sequence[PassTokens]],
        answers: Sequence[Growing],
        end: Callable[[bool], None],
        drop: Callable[[int], None] = lambda place: None,
    ) -> None:
        self._steps, self._answers, self._end, self._drop = iter(steps), answers, end, drop
        self._ready: deque[Token] = deque()
        self.over = False

    @property
    def completions(self) -> list[Completion]:
        """What came until now, of each."""
        return [answer.completion for answer in self._answers]

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        # No generator of this object's own: it would refer to itself, and one forgotten would free no party.
        while not self._ready:
            if self.over:
                raise StopIteration
            self._advance()
        token = self._ready.popleft()
        self._answers[token.index].take(token)
        return token

    def finished(self, place: int) -> bool:
        """Whether the last token of that answer has been read."""
        return self._answers[place].over and all(token.index != place for token in self._ready)

    def close(self) -> None:
        """Drop the generation, if it is not over; idempotent."""
        self._ready.clear()
        self._finish(False)

    def _advance(self) -> None:
        """Take one more step, and make its tokens ready."""
        try:
            written = next(self._steps, None)
        except BaseException:
            self._finish(False)
            raise
        for place, answer in enumerate(self._answers):
            if not answer.over:
                self._ready += answer.end() if written is None else answer.read(written[place])
                if answer.over:
                    self._drop(place)
        if all(answer.over for answer in self._answers):  # the parties are free before the last token is read
            self._finish(True)

    def _finish(self, clean: bool) -> None:
        if not self.over:
            self.over = True
            self._end(clean)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "over", True):
            self._finish(False)


class TokenStream(Abreast):
    """Iterates over the tokens of one answer as they come; leaving it early, or `close`, frees both parties at once.

    Afterwards `completion` is what there was of the answer, its text without what follows a stop sequence.
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
        self._answer = Growing(decode, options, eos, usage)
        super().__init__(((written,) for written in steps), [self._answer], end)

    @property
    def completion(self) -> Completion:
        """What came until now."""
        return self._answer.completion

    @property
    def stats(self) -> GenerationUsage:
        """What it took until now."""
        return self._answer.stats
