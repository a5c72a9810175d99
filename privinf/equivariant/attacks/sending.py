"""What a client sends that embeds by itself: rows under a session's cover, whose symbols are numbered as they come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from privinf.equivariant.asking.own_part import OwnPart
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.traffic import Stream
from privinf.equivariant.attacks.weights import F32
from privinf.equivariant.key import F64

COVERS = 8  # that sessions of the stream take in turn
SESSIONS, TOKENS = 8, 4000  # of the few that are attacked each by itself, and of their texts in all
FRONT = 64  # counted tokens of each text of a call: every position is searched for in all those before
POSITIONS = 128  # of such a session, where every position has candidates of its own


class Symbols:
    """Numbers triples of a session, a token and its position."""

    def __init__(self, positional: bool) -> None:
        self._positional = positional
        self._numbers = defaultdict[tuple[int, int, int], int](count().__next__)

    def of(self, text: Ids, session: int = 0) -> Ids:
        places = range(len(text)) if self._positional else [0] * len(text)
        triples = zip([session] * len(text), text.tolist(), places, strict=True)
        return np.array([self._numbers[triple] for triple in triples])

    def alone(self, tokens: Ids) -> Ids:
        """Of tokens that each begin a text."""
        return np.array([self._numbers[0, token, 0] for token in tokens.tolist()])

    def known(self) -> tuple[Ids, Ids]:
        """The token and the position of each symbol."""
        _, tokens, positions = np.array(list(self._numbers), dtype=np.int64).T
        return tokens, positions


@dataclass(frozen=True, eq=False)
class Sender:
    """One client.

    Attributes:
        cover: of the session whose weights the server holds.
        context: tokens of one session at most.
        positional: rows hold positions.
        decoder: a session is one conversation; else one call about many texts.
    """

    own: OwnPart
    cover: F64 = field(repr=False)
    context: int
    positional: bool
    decoder: bool

    def rows(self, tokens: Ids, positions: Ids) -> F32:
        """What is sent for each token at its position, under the one cover."""
        table = np.empty((len(tokens), self.cover.shape[1]), dtype=np.float32)
        for position in np.unique(positions):
            at = np.flatnonzero(positions == position)
            table[at] = self._plain(tokens[at], int(position)) @ self.cover
        return table

    def conversations(self, texts: Sequence[Ids]) -> list[list[Ids]]:
        """Texts of each session, as many as it has room for; one where rows hold positions."""
        found, room = list[list[Ids]](), 0
        for text in texts:
            if len(text) > room or self.positional:
                found.append([])
                room = self.context
            found[-1].append(text)
            room -= len(text)
        return found

    def few(self, texts: Sequence[Ids]) -> list[list[Ids]]:
        """Sessions to be attacked each by itself; none for a client whose call is all one session."""
        if not self.decoder:
            return []
        cut = [text[:POSITIONS] for text in texts] if self.positional else texts
        sessions = self.conversations(cut)[:SESSIONS]
        ends = np.cumsum([sum(map(len, session)) for session in sessions])
        return sessions[: int(np.searchsorted(ends, TOKENS)) + 1]

    def stream(self, texts: Sequence[Ids], first: int, seed: int) -> tuple[Stream | None, Ids]:
        """All texts in rows, symbols from `first` on, and what they stand for; None where that would be one by one."""
        if self.decoder and self.positional:
            return None, np.empty(0, dtype=np.int64)
        if not self.decoder:
            texts = [text[:FRONT] for text in texts]
        groups, places = self._numbered(texts)
        covers = self._covers(seed) if self.decoder else [self.cover]

        def pieces() -> Iterator[F32]:
            for place, tokens in enumerate(groups):
                plain = self._plain(tokens, 0 if self.decoder else place)
                yield (plain @ covers[place % len(covers)]).astype(np.float32)

        written = np.split(first + places, np.cumsum([len(text) for text in texts])[:-1])
        return Stream(first, written, pieces, len(groups) if self.decoder else 1), np.concatenate(groups)

    def _numbered(self, texts: Sequence[Ids]) -> tuple[list[Ids], Ids]:
        """The different tokens of each piece, and of every token of the texts its place among all of those."""
        if self.decoder:
            sizes = [sum(map(len, session)) for session in self.conversations(texts)]
            pieces = np.repeat(np.arange(len(sizes)), sizes)
        else:
            pieces = np.concatenate([np.arange(len(text)) for text in texts])
        tokens = np.concatenate(texts)
        span = int(tokens.max()) + 1
        known, places = np.unique(pieces * span + tokens, return_inverse=True)
        return np.split(known % span, np.flatnonzero(np.diff(known // span)) + 1), places

    def _plain(self, tokens: Ids, position: int) -> F64:
        if not self.positional:
            return self.own.token_rows(tokens.tolist())
        return np.concatenate([self.own.token_rows([token], position) for token in tokens.tolist()])

    def _covers(self, seed: int) -> list[F64]:
        """Rotations as the converter draws them for models whose norms only divide."""
        rng, width = np.random.default_rng(seed), len(self.cover)
        return [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(COVERS)]
