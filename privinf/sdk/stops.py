"""Turns tokens into text as they come, and ends it at a stop sequence or an end token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

Reason = Literal["stop", "length", "eos", "full"]

_HALF = "\N{REPLACEMENT CHARACTER}"
_PATIENCE = 16  # tokens without a whole character; the longest character of a tokenizer of bytes has 4


class TextStream:
    """The text of one answer, piece by piece; the pieces joined are the whole answer.

    Args:
        decode: the tokenizer's, best without special tokens.
        stop: sequences that end the text; neither they nor what follows is shown.
        eos: tokens that end the text.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = (), eos: Collection[int] = ()
    ) -> None:
        self.reason: Reason | None = None  # why the text ended
        self._pieces = _Pieces(decode)
        self._stops = _Stops(stop)
        self._eos = frozenset(eos)

    def push(self, token: int) -> str:
        """The text that is safe to show after one more token; after the end there is none."""
        if self.reason is not None:
            return ""
        if token in self._eos:
            return self._end("eos")
        return self._passed(self._pieces.push(token))

    def finish(self) -> str:
        """The text still held back; an answer without another reason ends by its length."""
        return "" if self.reason is not None else self._end("length")

    def _passed(self, piece: str) -> str:
        text, stopped = self._stops.push(piece)
        if stopped:
            self.reason = "stop"
        return text

    def _end(self, reason: Reason) -> str:
        text = self._passed(self._pieces.finish())
        if self.reason is None:
            self.reason = reason
            text += self._stops.finish()
        return text


class _Pieces:
    """Decodes a window of the last tokens only: what it shows grew out of text that was shown before.

    Some decoders drop a space at the start, so the window begins with tokens that are shown already.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window = list[int]()
        self._settled = 0  # tokens at the start of the window that are shown already
        self._shown = 0  # characters of the window's text that are shown already

    def push(self, token: int) -> str:
        self._window.append(token)
        text = self._decode(self._window)
        patient = len(self._window) - self._settled < _PATIENCE
        # One half character gives one mark, or one per byte of a whole run of bytes; what lasts is no half.
        whole = text.rstrip(_HALF) if patient else text.removesuffix(_HALF)
        piece = whole[self._shown :]
        self._shown += len(piece)
        if len(text) > self._shown:
            return piece if patient else self._moved(piece, len(text) - self._shown)
        if piece:
            return self._moved(piece, 0)
        if not patient:
            del self._window[self._settled :]  # skipped tokens, which leave no trace
        return piece

    def finish(self) -> str:
        return self._decode(self._window)[self._shown :]

    def _moved(self, piece: str, held: int) -> str:
        """Forget the tokens before those just shown."""
        del self._window[: self._settled]
        self._settled = len(self._window)
        self._shown = max(len(self._decode(self._window)) - held, 0)
        return piece


class _Stops:
    """Holds back text that may be the beginning of a stop sequence."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, piece: str) -> tuple[str, bool]:
        """What may be shown, and whether a stop sequence ended it."""
        text = self._held + piece
        # The one complete first, and so the same however the text is cut into pieces.
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            return text[: min(found)[1]], True
        shown = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[shown:]
        return text[:shown], False

    def finish(self) -> str:
        return self._held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
