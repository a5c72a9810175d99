"""The server's calls: what is asked is checked, computed in its turn, and forgotten."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from privinf.config import EquivariantConfig
from privinf.equivariant import wire
from privinf.equivariant.about import FACTS, read_about
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
from privinf.equivariant.serving import limits, running
from privinf.equivariant.serving.limits import Entrances
from privinf.equivariant.serving.running import CachedSequence, in_pieces
from privinf.equivariant.serving.sessions import Sessions
from privinf.equivariant.serving.turns import Turn, Turns
from privinf.equivariant.wire import F32, Ids
from privinf.errors import InputError, PeerLost
from privinf.parties.logs import Log
from privinf.parties.metrics import Meters
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.guard import Guard
from privinf.parties.rpc.methods import Method
from privinf.sampling import Sampler
from privinf.v1 import equivariant_pb2 as pb


class Calls:
    """The calls of one server."""

    def __init__(self, folder: Path, config: EquivariantConfig, log: Log, meters: Meters) -> None:
        self.about, self._config = read_about(folder), config
        self._turns, self._log = Turns(), log
        self._model: Any = None if self.about.what.local else running.load_model(folder, self.about)
        takes_images = self._model is not None and not self.about.vocab
        image = math.prod(running.image_shape(self._model)) if takes_images else 0
        self._room = limits.room(self.about, config)
        self.entrances = Entrances(self.about, config, meters, image)
        self._local = Sessions(folder, self.about, config, self._turns, log)

    def handlers(self, guard: Guard) -> grpc.GenericRpcHandler:
        """What a gRPC server is given."""
        calls: dict[Method, Callable[..., Any]] = {
            ABOUT: self._about,
            EMBED: self._embed,
            CLASSIFY: self._classify,
            GENERATE: self._generate,
            SESSION: self._local.session,
        }
        return guard.handlers(calls, self.entrances.ways())

    def drain(self) -> None:
        """Admit nothing more, and end the sessions that wait for their clients."""
        self.entrances.close()
        self._local.drain()

    def _about(
        self, _: pb.CoveredAboutRequest, context: grpc.ServicerContext, caller: str
    ) -> pb.CoveredAbout:
        about = replace(self.about, context=self._room) if self.about.task == "generate" else self.about
        facts = {name: getattr(about, name) for name in FACTS}
        return pb.CoveredAbout(**facts, max_rows=self._config.max_rows)

    def _embed(self, query: pb.CoveredQuery, context: grpc.ServicerContext, caller: str) -> pb.CoveredRows:
        self._require("embed", query.id)
        pooling, texts = wire.read_pooling(query.pooling), self._texts(query)
        with self._turn(context)():
            return wire.rows_message(running.embed(self._model, texts, pooling))

    def _classify(self, query: pb.CoveredQuery, context: grpc.ServicerContext, caller: str) -> pb.CoveredRows:
        self._require("classify", query.id)
        asked = self._texts(query) if self.about.vocab else self._images(query)
        with self._turn(context)():
            return wire.rows_message(running.classify(self._model, asked))

    def _generate(
        self, prompt: pb.CoveredPrompt, context: grpc.ServicerContext, caller: str
    ) -> Iterator[pb.CoveredTokens]:
        self._require("generate", prompt.id)
        turn = self._turn(context)
        ids = wire.read_ids(prompt.ids, self.about.vocab, self._room, "the prompt")
        sampler = Sampler(wire.read_sampling(prompt))
        if not prompt.max_new_tokens:
            raise InputError("max_new_tokens must be 1 or more")
        most = min(prompt.max_new_tokens, self._room - len(ids) + 1)
        try:
            yield from self._written(ids, sampler, most, turn)
        except PeerLost:
            return  # it has all that it wants: the server is not told which token ends a text

    def _written(self, ids: Ids, sampler: Sampler, most: int, turn: Turn) -> Iterator[pb.CoveredTokens]:
        sequence, seen, given, began = CachedSequence(self._model), ids.tolist(), ids, time.monotonic()
        try:
            for _ in range(most):
                token = sampler.choose(in_pieces(sequence.read_ids, given, turn), seen)
                yield pb.CoveredTokens(ids=[token])
                seen.append(token)
                given = np.array([token], dtype=np.int64)
        finally:
            sequence.close()
            self._log.info("generated", passes=sequence.passes, seconds=round(time.monotonic() - began, 6))

    def _texts(self, query: pb.CoveredQuery) -> list[Ids]:
        return wire.read_texts(query, self.about.vocab, self.about.context, self._config.max_rows)

    def _images(self, query: pb.CoveredQuery) -> F32:
        images = wire.read_rows(query.images, (None, *running.image_shape(self._model)), "images")
        wire.require_room(len(images), self.about.context, self._config.max_rows)
        return images

    def _require(self, task: str, key: str) -> None:
        """Refuse what this model is not for, before anything of the request is read."""
        wire.require_key(key, self.about.id)
        if self.about.task != task:
            raise InputError(f"this server's model is for {self.about.task}, not for {task}")
        if self._model is None:
            raise InputError("this server's model is of level session: open a session")

    def _turn(self, context: grpc.ServicerContext) -> Turn:
        return self._turns.of(Deadline.of(context, self._config.max_seconds), context.is_active)
