"""The equivariant mode of the SDK: what is asked goes under cover to one server that is not trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from privinf.config import EquivariantClientConfig
from privinf.equivariant import variants
from privinf.equivariant.asking.calls import Requests, asking, open_session
from privinf.equivariant.asking.link import Link
from privinf.equivariant.asking.prompts import PromptSide
from privinf.equivariant.asking.sides import side_of
from privinf.equivariant.asking.texts import TextSide
from privinf.equivariant.asking.writing import Chooser, CoveredGenerationUsage, received
from privinf.equivariant.key import Key
from privinf.equivariant.levels import warn_once
from privinf.equivariant.wire import F32, prompt_message
from privinf.errors import InputError
from privinf.options import Sampling
from privinf.sdk.answers import Classification, Embeddings, Usage
from privinf.sdk.backend import (
    Begin,
    Conversation,
    Facts,
    Items,
    Prompt,
    Texts,
    lacks,
    of_texts,
    other_task,
    tokens_of,
)
from privinf.sdk.call import Call
from privinf.sdk.completions import TokenStream
from privinf.sdk.connection import Connection
from privinf.sdk.decoding import PassTokens
from privinf.sdk.modes import Mode
from privinf.sdk.options import GenerationOptions, Reading
from privinf.sdk.room import warn_of_room
from privinf.sdk.standing import PartyStatus


@dataclass(frozen=True, kw_only=True)
class CoveredUsage(Usage):
    """What an answer took; `query_bytes` were sent and `result_bytes` received, HTTP/2 and TLS not counted."""

    result_bytes: int = 0

    def __str__(self) -> str:
        sent = f"{self.query_bytes} bytes sent, {self.result_bytes} received"
        return f"{self.queries} queries in {self.seconds:.2f} s; {sent}"


_LONGER = "--max-tokens of `privinf serve`, or another model, allows longer ones"


class Equivariant:
    """The client's folder of a covered model, and the way to its one server.

    The key stays here: the server gets covered ids or rows, and its answers are uncovered here. On connecting, a server
    whose model belongs to another key is refused.
    """

    def __init__(self, model: Path, connection: Connection) -> None:
        warn_once()
        self._folder, config = model, connection.settings(EquivariantClientConfig)
        self._key = Key.load(model)
        self._about = self._key.about
        self._side = side_of(model, self._about)
        self._link = Link(config, self._about)

    @property
    def facts(self) -> Facts:
        """What the key says of the model."""
        chat = isinstance(self._side, PromptSide) and self._side.chat
        return Facts("equivariant", self._about.task, self._about.id, level=self._about.level, chat=chat)

    @property
    def sessions_left(self) -> int | None:
        """How many sessions can still be opened at level session; None at the others."""
        return None if self._side.own is None else variants.left(self._folder)

    def connect(self) -> None:
        """Reach the server."""
        self._link.connect()

    def close(self) -> None:
        """Release the connection; idempotent."""
        self._link.close()

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """There are no parties."""
        lacks("equivariant", "status")

    def check(self, texts: Texts, reading: Reading) -> None:
        """Refuse the first text that the model cannot take."""
        self._asked(of_texts(self._about.task)).read(texts, reading)

    def embed(self, texts: Texts, reading: Reading, call: Call) -> Embeddings:
        """Vectors of texts."""
        rows, usage = self._ask("embed", texts, reading, call)
        assert isinstance(self._side, TextSide)
        return Embeddings(self._side.finished(rows), usage)

    def classify(self, items: Items, reading: Reading, call: Call) -> Classification:
        """What the model's head says of texts, or of images as the model's processor gives them."""
        logits, usage = self._ask("classify", items, reading, call)
        return Classification(logits, self._about.labels, self._asked("classify").says, usage)

    def write(
        self, prompt: Prompt | Conversation, options: GenerationOptions, raw: bool, special_tokens: bool
    ) -> Begin:
        """Read a prompt; once asked, the server begins at once, or at level session finds that its cover is new."""
        side = self._prompts
        ids = tokens_of(side, prompt, raw, special_tokens)

        def begin(call: Call) -> TokenStream:
            steps, end = self._begun(side, ids, options, call)
            usage = CoveredGenerationUsage()
            return TokenStream(steps, side.tokenizer.decode, options, side.eos, end, usage)

        return begin

    @property
    def _prompts(self) -> PromptSide:
        if isinstance(self._side, PromptSide):
            return self._side
        raise other_task(self._about.task, "generate")

    def _asked(self, task: str) -> Requests:
        """What reads requests of that task."""
        if self._about.task == task and not isinstance(self._side, PromptSide):
            return self._side
        raise other_task(self._about.task, task)

    def _ask(self, task: str, items: Items, reading: Reading, call: Call) -> tuple[F32, CoveredUsage]:
        side = self._asked(task)
        read, began = side.read(items, reading), time.monotonic()
        width = self._about.width if task == "embed" else len(self._about.labels)
        rows = np.empty((len(read), width), dtype=np.float32)
        room = self._link.connect().max_rows
        with asking(self._folder, self._link, side, self._key, call) as ask:
            for batch in side.batches(read, room):
                rows[list(batch.places)] = ask(batch)
                call.progress(len(batch.places))
        took = time.monotonic() - began
        usage = CoveredUsage(queries=ask.queries, rounds=ask.queries, seconds=took, online_seconds=took)
        return rows, replace(usage, query_bytes=ask.sent, result_bytes=ask.received)

    def _begun(
        self, side: PromptSide, ids: Sequence[int], options: GenerationOptions, call: Call
    ) -> tuple[Iterator[PassTokens], Callable[[bool], None]]:
        """Tokens as they come, and what ends them."""
        room = min(self._link.connect().context, self._about.context)
        if len(ids) > room:
            raise InputError(f"the prompt has {len(ids)} tokens and this server takes {room}: shorten it")
        left = room - len(ids) + 1  # nothing follows the last one: it takes no room
        most = min(options.max_new_tokens, left)
        if side.own is not None:
            warn_of_room(options, left, _LONGER)
            opened = open_session(self._folder, self._link, self._about, call, call.timeout)
            return Chooser(side.own, opened).write(ids, options, most), opened.end
        assert self._key.tokens is not None
        covered = self._key.tokens[np.asarray(ids)].tolist()
        prompt = prompt_message(self._about.id, covered, options.max_new_tokens, options)
        warn_of_room(options, left, _LONGER)
        replies = self._link.generate(prompt, call)
        return received(prompt, replies, self._key, most), lambda clean: replies.cancel()


ENTRY = Mode(frozenset(item.name for item in fields(Sampling)) | {"max_new_tokens", "stop"}, Equivariant)
