"""What a session answers to its steps, once its variant is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from privinf.config import EquivariantConfig
from privinf.equivariant import wire
from privinf.equivariant.about import ServerAbout
from privinf.equivariant.serving import running
from privinf.equivariant.serving.limits import room
from privinf.equivariant.serving.running import CachedSequence, in_pieces
from privinf.equivariant.serving.turns import Turn
from privinf.equivariant.wire import F32
from privinf.errors import InputError
from privinf.v1 import equivariant_pb2 as pb


class Encoding:
    """Texts or images that the client embedded; each step stands alone."""

    def __init__(self, model: Any, about: ServerAbout, config: EquivariantConfig, turn: Turn) -> None:
        self._model, self._about, self._turn, self._most = model, about, turn, config.max_rows
        # The row in front of an image's patches is the same for all, and a weight of the server's.
        self._rows = about.context if about.vocab else about.context - 1

    def __call__(self, step: pb.CoveredStep) -> F32:
        """One row for each text or image."""
        rows = wire.read_rows(step.rows, (None, None, self._about.width), "rows")
        lengths, pooling = list(step.lengths), wire.read_pooling(step.pooling)
        wire.require_room(len(rows), rows.shape[1], self._most)
        self._check(rows.shape[1], lengths, len(rows))
        with self._turn():
            if not self._about.vocab:
                return running.encode_patches(self._model, rows)
            return running.encode_rows(self._model, rows, lengths, pooling)

    def close(self) -> None:
        """Let go of the variant."""
        self._model = None

    def _check(self, longest: int, lengths: Sequence[int], count: int) -> None:
        whole = not self._about.vocab
        if longest > self._rows or (whole and longest != self._rows):
            raise InputError(f"{'all' if whole else 'at most'} {self._rows} rows are needed, not {longest}")
        if len(lengths) != count or not 0 < min(lengths) <= max(lengths) <= longest:
            raise InputError(f"each of {count} needs a length, from 1 to {longest}")


class Decoding:
    """Rows that follow those before; the last one's hidden row is the answer."""

    def __init__(self, model: Any, about: ServerAbout, config: EquivariantConfig, turn: Turn) -> None:
        self._sequence, self._turn, self._width = CachedSequence(model), turn, about.width
        self._room = room(about, config)

    def __call__(self, step: pb.CoveredStep) -> F32:
        """The last hidden row, (1, width)."""
        rows = wire.read_rows(step.rows, (None, self._width), "rows")
        left = self._room - self._sequence.tokens
        if len(rows) > left:
            raise InputError(f"{len(rows)} rows do not fit the {left} that this session has left")
        return in_pieces(self._sequence.read_rows, rows, self._turn)

    def close(self) -> None:
        """Let go of the variant and of what it has read."""
        self._sequence.close()
