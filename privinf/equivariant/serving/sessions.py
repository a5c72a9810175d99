"""Sessions of level session: each opens a variant of the model that was never opened, and ends with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc

from privinf.config import EquivariantConfig
from privinf.equivariant import variants
from privinf.equivariant.about import ServerAbout, read_about
from privinf.equivariant.serving import running
from privinf.equivariant.serving.answering import Decoding, Encoding
from privinf.equivariant.serving.turns import Turn, Turns
from privinf.equivariant.wire import rows_message
from privinf.errors import InputError, MismatchError, Overloaded
from privinf.parties.logs import Log
from privinf.parties.rpc.incoming import Requests
from privinf.parties.rpc.lives import Lives
from privinf.v1 import equivariant_pb2 as pb


class Sessions:
    """The sessions of one server."""

    def __init__(
        self, folder: Path, about: ServerAbout, config: EquivariantConfig, turns: Turns, log: Log
    ) -> None:
        self._about, self._config, self._turns, self._log = about, config, turns, log
        known = variants.all_variants(folder) if about.what.local else []
        self._variants = {read_about(path).id: path for path in known}
        self._lives = Lives()

    def drain(self) -> None:
        """End those that wait for their clients, and the others after the step under way."""
        for life in self._lives.now():
            life.end(Overloaded("this server is stopping"))

    def session(
        self, requests: Requests[pb.CoveredStep], context: grpc.ServicerContext, caller: str
    ) -> Iterator[pb.CoveredRows]:
        """Answer step after step; all that a session holds goes with it."""
        if not self._about.what.local:
            raise InputError(f"this server's model is of level {self._about.level}, which has no sessions")
        began, count, seconds = time.monotonic(), 0, self._config.idle_seconds
        late = f"the client asked for nothing for {seconds:g} s"
        with self._lives.holding(requests.life):
            opened: pb.CoveredOpen = requests.opening("a session begins with its opening")
            turn = self._turns.of(requests.life.deadline, context.is_active)
            folder = self._new_variant(opened)
            yield pb.CoveredRows()  # it is new: the client may send rows under its cover
            with closing(self._loaded(folder, turn)) as answer:
                while (step := requests.within(seconds, late)) is not None:
                    yield rows_message(answer(step))
                    count += 1
        self._log.info("session", passes=count, seconds=round(time.monotonic() - began, 6))

    def _new_variant(self, opened: pb.CoveredOpen) -> Path:
        """Mark the variant that a session opens, and return its folder."""
        folder = self._variants.get(opened.id)
        if folder is None:
            raise MismatchError("no variant of this server's model was covered with this key")
        if not variants.mark(folder):
            raise InputError(f"variant {opened.id[:8]} was opened before: every session takes a new one")
        return folder

    def _loaded(self, folder: Path, turn: Turn) -> Decoding | Encoding:
        """What answers the steps that follow."""
        with turn():
            model = running.load_model(folder, read_about(folder))
        kind = Decoding if self._about.task == "generate" else Encoding
        return kind(model, self._about, self._config, turn)
